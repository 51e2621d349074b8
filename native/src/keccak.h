#ifndef CORECHAIN_KECCAK_H
#define CORECHAIN_KECCAK_H
#include <stddef.h>
#include <stdint.h>

/* keccak-256 (the one of Ethereum: padding 0x01) of `length` bytes; writes 32 bytes. */
void corechain_keccak256(const uint8_t *data, size_t length, uint8_t *digest);

#endif
