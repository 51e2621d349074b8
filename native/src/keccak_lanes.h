/* Keccak of LANES equally long rows at once, one in each lane of a vector. Included once a width
 * by keccak_rows.c, which defines LANES, VECTOR (the type), TARGET and NAMED(name). */

#define ROTATED(word, by) ((word) << (by) | (word) >> (64 - (by)))
#define CHI(y)                                                     \
    a[(y) + 0] = b[(y) + 0] ^ (~b[(y) + 1] & b[(y) + 2]);          \
    a[(y) + 1] = b[(y) + 1] ^ (~b[(y) + 2] & b[(y) + 3]);          \
    a[(y) + 2] = b[(y) + 2] ^ (~b[(y) + 3] & b[(y) + 4]);          \
    a[(y) + 3] = b[(y) + 3] ^ (~b[(y) + 4] & b[(y) + 0]);          \
    a[(y) + 4] = b[(y) + 4] ^ (~b[(y) + 0] & b[(y) + 1])
#define COLUMN(x) (a[x] ^ a[(x) + 5] ^ a[(x) + 10] ^ a[(x) + 15] ^ a[(x) + 20])
#define THETA(x) (c[((x) + 4) % 5] ^ ROTATED(c[((x) + 1) % 5], 1))

TARGET static void NAMED(permute)(VECTOR *a) {
    VECTOR b[25], c[5], d[5];
    for (int round = 0; round < 24; round++) {
        c[0] = COLUMN(0), c[1] = COLUMN(1), c[2] = COLUMN(2), c[3] = COLUMN(3), c[4] = COLUMN(4);
        d[0] = THETA(0), d[1] = THETA(1), d[2] = THETA(2), d[3] = THETA(3), d[4] = THETA(4);
        b[0] = a[0] ^ d[0];
        b[1] = ROTATED(a[6] ^ d[1], 44), b[2] = ROTATED(a[12] ^ d[2], 43);
        b[3] = ROTATED(a[18] ^ d[3], 21), b[4] = ROTATED(a[24] ^ d[4], 14);
        b[5] = ROTATED(a[3] ^ d[3], 28), b[6] = ROTATED(a[9] ^ d[4], 20);
        b[7] = ROTATED(a[10] ^ d[0], 3), b[8] = ROTATED(a[16] ^ d[1], 45);
        b[9] = ROTATED(a[22] ^ d[2], 61), b[10] = ROTATED(a[1] ^ d[1], 1);
        b[11] = ROTATED(a[7] ^ d[2], 6), b[12] = ROTATED(a[13] ^ d[3], 25);
        b[13] = ROTATED(a[19] ^ d[4], 8), b[14] = ROTATED(a[20] ^ d[0], 18);
        b[15] = ROTATED(a[4] ^ d[4], 27), b[16] = ROTATED(a[5] ^ d[0], 36);
        b[17] = ROTATED(a[11] ^ d[1], 10), b[18] = ROTATED(a[17] ^ d[2], 15);
        b[19] = ROTATED(a[23] ^ d[3], 56), b[20] = ROTATED(a[2] ^ d[2], 62);
        b[21] = ROTATED(a[8] ^ d[3], 55), b[22] = ROTATED(a[14] ^ d[4], 39);
        b[23] = ROTATED(a[15] ^ d[0], 41), b[24] = ROTATED(a[21] ^ d[1], 2);
        CHI(0);
        CHI(5);
        CHI(10);
        CHI(15);
        CHI(20);
        a[0] ^= corechain_keccak_rounds[round];
    }
}

/* XORs one block of each row into the state. */
TARGET static void NAMED(absorb)(VECTOR *a, uint8_t blocks[][RATE]) {
    for (int word = 0; word < RATE / 8; word++) {
        uint64_t lanes[LANES];
        VECTOR vector;
        for (int lane = 0; lane < LANES; lane++) memcpy(&lanes[lane], blocks[lane] + 8 * word, 8);
        memcpy(&vector, lanes, sizeof vector);
        a[word] ^= vector;
    }
    NAMED(permute)(a);
}

/* Up to LANES rows; all are read before anything is written. */
TARGET static void NAMED(group)(const uint8_t *rows, size_t stride, size_t size, size_t count,
                                uint8_t *hashes, size_t hash_stride, size_t hash_size) {
    VECTOR a[25];
    uint8_t blocks[LANES][RATE];
    size_t done = 0;
    memset(a, 0, sizeof a);
    for (; size - done >= RATE; done += RATE) {
        for (size_t lane = 0; lane < LANES; lane++)
            memcpy(blocks[lane], rows + stride * (lane < count ? lane : 0) + done, RATE);
        NAMED(absorb)(a, blocks);
    }
    memset(blocks, 0, sizeof blocks);
    for (size_t lane = 0; lane < LANES; lane++) {
        memcpy(blocks[lane], rows + stride * (lane < count ? lane : 0) + done, size - done);
        blocks[lane][size - done] = 0x01;
        blocks[lane][RATE - 1] |= 0x80;
    }
    NAMED(absorb)(a, blocks);
    for (size_t lane = 0; lane < count; lane++) {
        uint64_t words[4];
        for (int word = 0; word < 4; word++) words[word] = a[word][lane];
        memcpy(hashes + hash_stride * lane, words, hash_size);
    }
}

TARGET static void NAMED(rows)(const uint8_t *rows, size_t stride, size_t size, size_t count,
                               uint8_t *hashes, size_t hash_stride, size_t hash_size) {
    for (size_t at = 0; at < count; at += LANES) {
        size_t many = count - at < LANES ? count - at : LANES;
        NAMED(group)(rows + stride * at, stride, size, many, hashes + hash_stride * at, hash_stride,
                     hash_size);
    }
}

#undef ROTATED
#undef CHI
#undef COLUMN
#undef THETA
