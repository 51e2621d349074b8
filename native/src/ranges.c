#include "ranges.h"

#include <string.h>

#include "keccak_rows.h"
#include "roots.h"

#define LEAF 40
#define KEY 35
#define NODE 42
#define HASH 26
#define BLOCK_LEVEL 6
#define BLOCK (1u << BLOCK_LEVEL)
#define MOST_OPENED 4 /* each of the leaves that a proof shows in a block of its own */

/* A block's nodes, level by level. Each level has room for one more: a zero beside an odd one. */
typedef struct {
    uint32_t number, width;
    const uint8_t *leaves;
    uint8_t nodes[BLOCK_LEVEL + 1][NODE * (BLOCK + 1)];
} block;

typedef struct {
    const uint8_t *kept[33]; /* of level 6 and up */
    block blocks[MOST_OPENED];
    size_t opened;
    uint32_t shown[4];
    size_t shown_count;
    uint32_t count;
    int is_empty;
    corechain_range *range;
} work;

static int depth_of(uint32_t count) {
    int depth = 0;
    while (depth < 32 && ((uint64_t)1 << depth) < count) depth++;
    return depth;
}

static uint64_t width_of(uint32_t count, int level) {
    return ((uint64_t)count + ((uint64_t)1 << level) - 1) >> level;
}

/* ---- where keys lie ---- */

/* How many of the rows are below a key, or with `or_equal` not above it. */
static size_t rows_below(const uint8_t *rows, size_t stride, size_t count, const uint8_t *key,
                         int or_equal) {
    size_t from = 0, to = count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = memcmp(rows + stride * middle, key, KEY);
        if (order < 0 || (or_equal && order == 0))
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

void corechain_range_edges(const uint8_t *fences, size_t blocks, const uint8_t *low,
                           const uint8_t *high, uint32_t edges[2]) {
    size_t first = rows_below(fences, KEY, blocks, low, 0);
    size_t last = rows_below(fences, KEY, blocks, high, 1);
    edges[0] = first ? (uint32_t)first - 1 : 0;
    edges[1] = last ? (uint32_t)last - 1 : 0;
}

static const block *opened_block(const work *w, uint32_t number) {
    for (size_t i = 0; i < w->opened; i++)
        if (w->blocks[i].number == number) return &w->blocks[i];
    return NULL;
}

static int locate(const work *w, const uint8_t *low, const uint8_t *high, uint32_t first,
                  uint32_t last) {
    const block *one = opened_block(w, first), *other = opened_block(w, last);
    if (!one || !other) return 0;
    w->range->start =
        first * BLOCK + (uint32_t)rows_below(one->leaves, LEAF, one->width, low, 0);
    w->range->end =
        last * BLOCK + (uint32_t)rows_below(other->leaves, LEAF, other->width, high, 1);
    return w->range->start <= w->range->end;
}

static void show(work *w, int64_t position) {
    int is_new = !w->shown_count || w->shown[w->shown_count - 1] != (uint32_t)position;
    if (position >= 0 && position < w->count && is_new)
        w->shown[w->shown_count++] = (uint32_t)position;
}

/* Both edges and their outer neighbours; whether their blocks are open. */
static int show_edges(work *w) {
    int64_t start = w->range->start, end = w->range->end;
    show(w, start - 1);
    if (start != end) {
        show(w, start);
        show(w, end - 1);
    }
    show(w, end);
    for (size_t i = 0; i < w->shown_count; i++)
        if (!opened_block(w, w->shown[i] >> BLOCK_LEVEL)) return 0;
    return 1;
}

/* ---- opening ---- */

static int find_levels(work *w, const uint8_t *kept, size_t bytes) {
    size_t at = 0;
    for (int level = BLOCK_LEVEL; level <= depth_of(w->count); level++) {
        w->kept[level] = kept + at;
        at += NODE * (size_t)width_of(w->count, level);
    }
    return at == bytes;
}

static int take_blocks(work *w, const uint32_t *numbers, size_t opened, const uint8_t *leaves,
                       size_t bytes) {
    size_t at = 0, blocks = (size_t)width_of(w->count, BLOCK_LEVEL);
    if (!opened || opened > MOST_OPENED) return 0;
    for (size_t i = 0; i < opened; i++) {
        block *one = &w->blocks[i];
        if (numbers[i] >= blocks || (i && numbers[i] <= numbers[i - 1])) return 0;
        one->number = numbers[i];
        one->width = numbers[i] + 1 < blocks ? BLOCK : w->count - BLOCK * numbers[i];
        one->leaves = leaves + at;
        at += LEAF * one->width;
    }
    w->opened = opened;
    return at == bytes;
}

static void hash_block(block *one) {
    uint8_t hashes[HASH * BLOCK];
    uint32_t width = one->width;
    corechain_hash26_rows(one->leaves, LEAF, LEAF, width, hashes, HASH);
    corechain_leaf_nodes(one->leaves, hashes, width, one->nodes[0]);
    for (int level = 1; level <= BLOCK_LEVEL; level++, width = (width + 1) / 2)
        corechain_level_above(one->nodes[level - 1], width, one->nodes[level]);
}

static const uint8_t *node_of_block(const work *w, int level, uint32_t index) {
    int above = BLOCK_LEVEL - level;
    const block *one = opened_block(w, index >> above);
    return one->nodes[level] + NODE * (size_t)(index & ((1u << above) - 1));
}

static const uint8_t *node_at(const work *w, int level, uint32_t index) {
    if (level >= BLOCK_LEVEL) return w->kept[level] + NODE * (size_t)index;
    return node_of_block(w, level, index);
}

/* ---- the proof ---- */

static void count_in(work *w, const uint8_t *node, uint64_t first) {
    corechain_range *range = w->range;
    int32_t low = corechain_big32(node + HASH + 8), high = corechain_big32(node + HASH + 12);
    if (first < range->start || first >= range->end) return;
    range->sum = (int64_t)((uint64_t)range->sum + corechain_big64(node + HASH));
    if (w->is_empty || low < range->min) range->min = low;
    if (w->is_empty || high > range->max) range->max = high;
    w->is_empty = 0;
}

static int shows(const work *w, uint64_t first, uint64_t width) {
    for (size_t i = 0; i < w->shown_count; i++)
        if (w->shown[i] >= first && w->shown[i] < first + width) return 1;
    return 0;
}

static void put_leaf(work *w, uint32_t position) {
    const block *one = opened_block(w, position >> BLOCK_LEVEL);
    memcpy(w->range->leaves + LEAF * w->range->leaf_count++,
           one->leaves + LEAF * (position % BLOCK), LEAF);
}

/* A node that covers no leaf that is shown. */
static void put_node(work *w, int level, uint32_t index, uint8_t *to) {
    const uint8_t *node = node_at(w, level, index);
    count_in(w, node, (uint64_t)index << level);
    memcpy(w->range->nodes + NODE * w->range->node_count++, node, NODE);
    memcpy(to, node, NODE);
}

/* Adds the proof's part below a node, and makes the node anew from it: above the open blocks from
 * its children, so that kept nodes that do not belong together are found out by the root. */
static void cover(work *w, int level, uint32_t index, uint8_t *to) {
    uint8_t pair[3 * NODE]; /* and room for one more */
    uint64_t first = (uint64_t)index << level, middle = first + ((uint64_t)1 << level) / 2;
    if (!shows(w, first, (uint64_t)1 << level)) {
        put_node(w, level, index, to);
        return;
    }
    if (level == 0) {
        count_in(w, node_at(w, 0, index), first);
        put_leaf(w, index);
    } else {
        cover(w, level - 1, 2 * index, pair);
        if (middle < w->count) cover(w, level - 1, 2 * index + 1, pair + NODE);
    }
    if (level <= BLOCK_LEVEL)
        memcpy(to, node_of_block(w, level, index), NODE);
    else
        corechain_level_above(pair, middle < w->count ? 2 : 1, to);
}

int corechain_range_proof(const uint8_t *kept, size_t kept_bytes, uint32_t count,
                          const uint32_t *numbers, size_t opened, const uint8_t *leaves,
                          size_t leaves_bytes, const uint8_t *low, const uint8_t *high,
                          uint32_t first, uint32_t last, corechain_range *range) {
    work w;
    uint8_t top[NODE];
    memset(range, 0, sizeof *range);
    w.count = count;
    w.range = range;
    w.shown_count = 0;
    w.is_empty = 1;
    if (!count || !find_levels(&w, kept, kept_bytes)) return -2;
    if (!take_blocks(&w, numbers, opened, leaves, leaves_bytes)) return -2;
    if (!locate(&w, low, high, first, last)) return -2;
    if (!show_edges(&w)) return -1;
    for (size_t i = 0; i < opened; i++) hash_block(&w.blocks[i]);
    cover(&w, depth_of(count), 0, top);
    corechain_hash26_rows(top, NODE, NODE, 1, range->root, HASH);
    return 0;
}
