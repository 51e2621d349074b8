#ifndef CORECHAIN_BLAKE2B_H
#define CORECHAIN_BLAKE2B_H
#include <stddef.h>
#include <stdint.h>

/* BLAKE2b (RFC 7693) without a key; writes `size` (1 to 64) bytes. */
void corechain_blake2b(const uint8_t *data, size_t length, uint8_t *digest, size_t size);

#endif
