#ifndef CORECHAIN_KECCAK_H
#define CORECHAIN_KECCAK_H
#include <stddef.h>
#include <stdint.h>

/* Bytes that a permutation absorbs: 1,600 bits without twice the digest's. */
#define KECCAK_RATE 136

/* Round constants of Keccak-f[1600] (FIPS 202, 3.2.5). */
extern const uint64_t corechain_keccak_rounds[24];

/* keccak-256 (the one of Ethereum: padding 0x01) of `length` bytes; writes 32 bytes. */
void corechain_keccak256(const uint8_t *data, size_t length, uint8_t *digest);

#endif
