#include "keccak.h"

#include <string.h>

#define RATE KECCAK_RATE

const uint64_t corechain_keccak_rounds[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000,
    0x000000000000808b, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
    0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
    0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003,
    0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
};

#define ROTATED(word, by) ((word) << (by) | (word) >> (64 - (by)))

/* Lane (x, y) is at x + 5 y. Written out, so that the lanes stay in registers: a loop over tables
 * of offsets takes twice as long. */
#define THETA_OF(x) (c[((x) + 4) % 5] ^ ROTATED(c[((x) + 1) % 5], 1))
#define COLUMN(x) (a[x] ^ a[(x) + 5] ^ a[(x) + 10] ^ a[(x) + 15] ^ a[(x) + 20])
#define CHI_ROW(y)                                  \
    a[(y) + 0] = b[(y) + 0] ^ (~b[(y) + 1] & b[(y) + 2]); \
    a[(y) + 1] = b[(y) + 1] ^ (~b[(y) + 2] & b[(y) + 3]); \
    a[(y) + 2] = b[(y) + 2] ^ (~b[(y) + 3] & b[(y) + 4]); \
    a[(y) + 3] = b[(y) + 3] ^ (~b[(y) + 4] & b[(y) + 0]); \
    a[(y) + 4] = b[(y) + 4] ^ (~b[(y) + 0] & b[(y) + 1])

static void permute(uint64_t *a) {
    uint64_t b[25], c[5], d[5];
    for (int round = 0; round < 24; round++) {
        c[0] = COLUMN(0), c[1] = COLUMN(1), c[2] = COLUMN(2), c[3] = COLUMN(3), c[4] = COLUMN(4);
        d[0] = THETA_OF(0), d[1] = THETA_OF(1), d[2] = THETA_OF(2), d[3] = THETA_OF(3);
        d[4] = THETA_OF(4);
        b[0] = a[0] ^ d[0];
        b[1] = ROTATED(a[6] ^ d[1], 44);
        b[2] = ROTATED(a[12] ^ d[2], 43);
        b[3] = ROTATED(a[18] ^ d[3], 21);
        b[4] = ROTATED(a[24] ^ d[4], 14);
        b[5] = ROTATED(a[3] ^ d[3], 28);
        b[6] = ROTATED(a[9] ^ d[4], 20);
        b[7] = ROTATED(a[10] ^ d[0], 3);
        b[8] = ROTATED(a[16] ^ d[1], 45);
        b[9] = ROTATED(a[22] ^ d[2], 61);
        b[10] = ROTATED(a[1] ^ d[1], 1);
        b[11] = ROTATED(a[7] ^ d[2], 6);
        b[12] = ROTATED(a[13] ^ d[3], 25);
        b[13] = ROTATED(a[19] ^ d[4], 8);
        b[14] = ROTATED(a[20] ^ d[0], 18);
        b[15] = ROTATED(a[4] ^ d[4], 27);
        b[16] = ROTATED(a[5] ^ d[0], 36);
        b[17] = ROTATED(a[11] ^ d[1], 10);
        b[18] = ROTATED(a[17] ^ d[2], 15);
        b[19] = ROTATED(a[23] ^ d[3], 56);
        b[20] = ROTATED(a[2] ^ d[2], 62);
        b[21] = ROTATED(a[8] ^ d[3], 55);
        b[22] = ROTATED(a[14] ^ d[4], 39);
        b[23] = ROTATED(a[15] ^ d[0], 41);
        b[24] = ROTATED(a[21] ^ d[1], 2);
        CHI_ROW(0);
        CHI_ROW(5);
        CHI_ROW(10);
        CHI_ROW(15);
        CHI_ROW(20);
        a[0] ^= corechain_keccak_rounds[round];
    }
}

/* Lanes are little-endian whatever the machine is. */
static uint64_t lane(const uint8_t *bytes) {
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--) word = word << 8 | bytes[i];
    return word;
}

static void absorb(uint64_t *state, const uint8_t *block) {
    for (int i = 0; i < RATE / 8; i++) state[i] ^= lane(block + 8 * i);
    permute(state);
}

void corechain_keccak256(const uint8_t *data, size_t length, uint8_t *digest) {
    uint64_t state[25] = {0};
    uint8_t last[RATE] = {0};
    for (; length >= RATE; data += RATE, length -= RATE) absorb(state, data);
    if (length) memcpy(last, data, length);
    last[length] = 0x01;
    last[RATE - 1] |= 0x80;
    absorb(state, last);
    for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(state[i / 8] >> (8 * (i % 8)));
}
