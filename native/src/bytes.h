#ifndef CORECHAIN_BYTES_H
#define CORECHAIN_BYTES_H
#include <stdint.h>

/* Big-endian numbers, as all packed forms of the protocol have them. Not for cffi. */

static inline uint64_t big_endian(const uint8_t *from, int size) {
    uint64_t word = 0;
    for (int i = 0; i < size; i++) word = word << 8 | from[i];
    return word;
}

static inline void put_big_endian(uint8_t *to, uint64_t word, int size) {
    for (int i = size - 1; i >= 0; i--, word >>= 8) to[i] = (uint8_t)word;
}

#endif
