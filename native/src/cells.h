#ifndef CORECHAIN_CELLS_H
#define CORECHAIN_CELLS_H
#include <stdint.h>

/* Whether 64 bits are an H3 cell: corechain.protocol.cells.is_cell. */
int corechain_is_cell(uint64_t index);

#endif
