#include "roots.h"

#include <string.h>

#include "keccak_rows.h"

#define HASH 26
#define POSITION 4
#define LEAF 40
#define VALUE_AT 35
#define NODE 42
#define GROUP 64

void corechain_merkle_root(uint8_t *work, size_t count, uint8_t *root) {
    for (; count > 1; count = (count + 1) / 2) {
        /* The zero node, where the last one has no neighbour. */
        memset(work + HASH * count, 0, HASH);
        corechain_hash26_rows(work, 2 * HASH, 2 * HASH, (count + 1) / 2, work, HASH);
    }
    memcpy(root, work, HASH);
}

/* Byte by byte in one expression, which compilers make one store of. */
static void put_position(uint8_t *to, size_t position) {
    to[0] = (uint8_t)(position >> 24), to[1] = (uint8_t)(position >> 16);
    to[2] = (uint8_t)(position >> 8), to[3] = (uint8_t)position;
}

void corechain_merkle_paths(const uint8_t *hashes, size_t count, size_t depth, uint8_t *work,
                            uint8_t *tails, uint8_t *root) {
    const uint8_t *levels[32];
    memcpy(work, hashes, HASH * count);
    for (size_t level = 0, many = count; level < depth; level++) {
        levels[level] = work;
        /* The zero node, where the last one has no neighbour. */
        memset(work + HASH * many, 0, HASH);
        uint8_t *above = work + HASH * (many + 1);
        many = (many + 1) / 2;
        corechain_hash26_rows(work, 2 * HASH, 2 * HASH, many, above, HASH);
        work = above;
    }
    memcpy(root, work, HASH);
    /* A leaf after the other, not a level: what is written lies together, and what is read of the
     * upper levels stays in the cache. */
    for (size_t at = 0; at < count; at++) {
        put_position(tails, at);
        tails += POSITION;
        for (size_t level = 0; level < depth; level++, tails += HASH)
            memcpy(tails, levels[level] + HASH * ((at >> level) ^ 1), HASH);
    }
}

uint64_t corechain_big64(const uint8_t *from) {
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) word = word << 8 | from[i];
    return word;
}

int32_t corechain_big32(const uint8_t *from) {
    return (int32_t)((uint32_t)from[0] << 24 | from[1] << 16 | from[2] << 8 | from[3]);
}

static void put64(uint8_t *to, uint64_t word) {
    for (int i = 7; i >= 0; i--, word >>= 8) to[i] = (uint8_t)word;
}

static void put32(uint8_t *to, int32_t number) {
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)((uint32_t)number >> (24 - 8 * i));
}

static void put_node(uint8_t *to, const uint8_t *hash, uint64_t sum, int32_t low, int32_t high) {
    memcpy(to, hash, HASH);
    put64(to + HASH, sum);
    put32(to + HASH + 8, low);
    put32(to + HASH + 12, high);
}

/* The parent of two neighbours; `alone` when the right one is the zero node, which counts for
 * nothing. `to` may be where they lie. */
static void put_parent(uint8_t *to, const uint8_t *hash, const uint8_t *pair, int alone) {
    const uint8_t *left = pair + HASH, *right = pair + NODE + HASH;
    uint64_t sum = corechain_big64(left);
    int32_t low = corechain_big32(left + 8), high = corechain_big32(left + 12);
    if (!alone) {
        int32_t other_low = corechain_big32(right + 8), other_high = corechain_big32(right + 12);
        sum += corechain_big64(right);
        if (other_low < low) low = other_low;
        if (other_high > high) high = other_high;
    }
    put_node(to, hash, sum, low, high);
}

void corechain_level_above(uint8_t *below, size_t count, uint8_t *above) {
    uint8_t hashes[GROUP * HASH];
    size_t parents = (count + 1) / 2;
    memset(below + NODE * count, 0, NODE);
    for (size_t at = 0; at < parents; at += GROUP) {
        size_t many = parents - at < GROUP ? parents - at : GROUP;
        corechain_hash26_rows(below + 2 * NODE * at, 2 * NODE, 2 * NODE, many, hashes, HASH);
        for (size_t i = 0; i < many; i++) {
            size_t parent = at + i;
            put_parent(above + NODE * parent, hashes + HASH * i, below + 2 * NODE * parent,
                       2 * parent + 1 == count);
        }
    }
}

void corechain_leaf_nodes(const uint8_t *leaves, const uint8_t *hashes, size_t count,
                          uint8_t *nodes) {
    for (size_t i = 0; i < count; i++) {
        int32_t value = corechain_big32(leaves + LEAF * i + VALUE_AT);
        put_node(nodes + NODE * i, hashes + HASH * i, (uint64_t)(int64_t)value, value, value);
    }
}

void corechain_statistics_root(const uint8_t *leaves, const uint8_t *hashes, size_t count,
                               uint8_t *work, uint8_t *root) {
    corechain_leaf_nodes(leaves, hashes, count, work);
    for (; count > 1; count = (count + 1) / 2) corechain_level_above(work, count, work);
    corechain_hash26_rows(work, NODE, NODE, 1, root, HASH);
}
