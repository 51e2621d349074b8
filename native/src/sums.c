/* Sums of many points, by Pippenger's buckets. Each factor is read in windows of w bits; a window's
 * points are gathered in buckets by their digit, each bucket is summed, and digit times bucket is
 * added up. That is what libsecp256k1 does, too. Here a bucket's points stay affine: pairs are added
 * in rounds, and all pairs of a round share one inversion (Montgomery's trick). An addition is 6
 * multiplications so, and 11 in Jacobian coordinates. */

/* The library's internals, which it does not export: its headers are its implementation. */
#pragma GCC diagnostic ignored "-Wunused-function"
#include "sums.h"

#include <stdlib.h>
#include <string.h>

#include "assumptions.h"
#include "util.h"
#include "field_impl.h"
#include "scalar_impl.h"
#include "group_impl.h"
#include "int128_impl.h"
#include "lanes.h"

/* A factor has 128 bits; digits are signed, so that one more may be carried. */
enum { BITS = 129 };

/* Fewer pairs are added sooner one by one: the lanes' own inversions take as long as some of them. */
enum { FEWEST_IN_LANES = 24 };

/* How the two points of a pair lie. */
enum { APART, EQUAL, OPPOSITE };

typedef struct {
    const corechain_term *terms;
    size_t count;
    int width;
    size_t buckets;
    corechain_point *points; /* of one window, bucket by bucket */
    int16_t *digits;
    uint8_t *carries;
    uint32_t *firsts, *sizes; /* of each bucket: where it begins, and its points */
    uint32_t *pairs;          /* of one round: where the first of each lies, the other is behind */
    uint8_t *kinds;
    secp256k1_fe *bottoms, *products; /* of one round: denominators; products of those behind */
    uint32_t *targets;                /* of one round: where the sums go; only with lanes */
    corechain_pairs *lanes;
} work;

/* ---- windows ---- */

/* Where additions and buckets cost the least, as measured: a bucket costs as much as two additions,
 * or as ten in lanes. */
static int width_of(size_t count) {
    static const size_t one_by_one[] = {60, 150, 400, 900, 2400, 6000, 16000};
    static const size_t in_lanes[] = {120, 600, 2000, 5000, 12000, 30000, 70000};
    const size_t *most = corechain_has_lanes() ? in_lanes : one_by_one;
    int width = 4;
    for (int i = 0; i < 7 && count > most[i]; i++) width++;
    return width;
}

static int32_t bits_at(const corechain_term *term, int at, int width) {
    uint64_t bits;
    if (at >= 128) return 0;
    if (at >= 64) {
        bits = term->high >> (at - 64);
    } else {
        bits = term->low >> at;
        if (at) bits |= term->high << (64 - at);
    }
    return (int32_t)(bits & ((1u << width) - 1));
}

/* The next digit of every term: from -2^(w-1) + 1 to 2^(w-1). Windows are read from the lowest. */
static void read_digits(work *w, int window) {
    int32_t half = 1 << (w->width - 1);
    for (size_t i = 0; i < w->count; i++) {
        int32_t digit = bits_at(&w->terms[i], window * w->width, w->width) + w->carries[i];
        w->carries[i] = digit > half;
        w->digits[i] = (int16_t)(digit > half ? digit - 2 * half : digit);
    }
}

/* Lays the points into their buckets; a negative digit counts the point's opposite. */
static void fill_buckets(work *w) {
    uint32_t first = 0;
    memset(w->sizes, 0, w->buckets * sizeof *w->sizes);
    for (size_t i = 0; i < w->count; i++)
        if (w->digits[i]) w->sizes[abs(w->digits[i]) - 1]++;
    for (size_t b = 0; b < w->buckets; b++) {
        w->firsts[b] = first;
        first += w->sizes[b];
        w->sizes[b] = 0;
    }
    for (size_t i = 0; i < w->count; i++) {
        if (!w->digits[i]) continue;
        size_t b = (size_t)abs(w->digits[i]) - 1;
        corechain_point *point = &w->points[w->firsts[b] + w->sizes[b]++];
        *point = w->terms[i].point;
        if (w->digits[i] < 0) {
            secp256k1_fe_negate(&point->y, &point->y, 1);
            secp256k1_fe_normalize_weak(&point->y);
        }
    }
}

/* ---- rounds ---- */

static size_t list_pairs(work *w) {
    size_t count = 0;
    for (size_t b = 0; b < w->buckets; b++) {
        for (uint32_t i = 0; i + 1 < w->sizes[b]; i += 2) {
            if (w->lanes) w->targets[count] = w->firsts[b] + i / 2;
            w->pairs[count++] = w->firsts[b] + i;
        }
    }
    return count;
}

/* What the slope of the line through a pair is divided by; never zero. */
static uint8_t read_bottom(const corechain_point *pair, secp256k1_fe *bottom) {
    secp256k1_fe y = pair[0].y;
    secp256k1_fe_negate(bottom, &pair[0].x, 1);
    secp256k1_fe_add(bottom, &pair[1].x);
    if (!secp256k1_fe_normalizes_to_zero_var(bottom)) return APART;
    secp256k1_fe_add(&y, &pair[1].y);
    *bottom = y; /* twice the ordinate where they are equal: no point has the ordinate zero */
    if (!secp256k1_fe_normalizes_to_zero_var(&y)) return EQUAL;
    secp256k1_fe_set_int(bottom, 1);
    return OPPOSITE;
}

static corechain_point sum_of(const corechain_point *pair, uint8_t kind, const secp256k1_fe *inverse) {
    corechain_point sum;
    secp256k1_fe slope, minus;
    if (kind == EQUAL) { /* 3 x^2 / 2 y: the curve has no linear term */
        secp256k1_fe_sqr(&slope, &pair[0].x);
        secp256k1_fe_mul_int(&slope, 3);
    } else {
        secp256k1_fe_negate(&slope, &pair[0].y, 1);
        secp256k1_fe_add(&slope, &pair[1].y);
    }
    secp256k1_fe_mul(&slope, &slope, inverse);
    secp256k1_fe_sqr(&sum.x, &slope);
    minus = pair[0].x;
    secp256k1_fe_add(&minus, &pair[1].x);
    secp256k1_fe_negate(&minus, &minus, 2);
    secp256k1_fe_add(&sum.x, &minus);
    secp256k1_fe_normalize_weak(&sum.x);
    secp256k1_fe_negate(&minus, &sum.x, 1);
    secp256k1_fe_add(&minus, &pair[0].x);
    secp256k1_fe_mul(&sum.y, &minus, &slope);
    secp256k1_fe_negate(&minus, &pair[0].y, 1);
    secp256k1_fe_add(&sum.y, &minus);
    secp256k1_fe_normalize_weak(&sum.y);
    return sum;
}

/* From behind, so that the sums can be written from the front into the places of their pairs. */
static secp256k1_fe multiply_bottoms(work *w, size_t count) {
    secp256k1_fe product;
    secp256k1_fe_set_int(&product, 1);
    for (size_t i = count; i-- > 0;) {
        w->kinds[i] = read_bottom(&w->points[w->pairs[i]], &w->bottoms[i]);
        w->products[i] = product;
        secp256k1_fe_mul(&product, &product, &w->bottoms[i]);
    }
    return product;
}

/* Halves every bucket: pairs become their sums. */
static void add_pairs_one_by_one(work *w, size_t count) {
    size_t i = 0;
    secp256k1_fe inverse, product = multiply_bottoms(w, count);
    secp256k1_fe_inv_var(&inverse, &product);
    for (size_t b = 0; b < w->buckets; b++) {
        corechain_point *from = &w->points[w->firsts[b]], *to = from;
        uint32_t size = w->sizes[b];
        for (; size > 1; size -= 2, from += 2, i++) {
            secp256k1_fe of_pair;
            secp256k1_fe_mul(&of_pair, &inverse, &w->products[i]);
            secp256k1_fe_mul(&inverse, &inverse, &w->bottoms[i]);
            if (w->kinds[i] != OPPOSITE) *to++ = sum_of(from, w->kinds[i], &of_pair);
        }
        if (size) *to++ = *from;
        w->sizes[b] = (uint32_t)(to - &w->points[w->firsts[b]]);
    }
}

static void add_pairs(work *w, size_t count) {
    int is_done = w->lanes && count >= FEWEST_IN_LANES &&
                  corechain_add_in_lanes(w->points, w->pairs, w->targets, count, w->lanes);
    if (!is_done) {
        add_pairs_one_by_one(w, count);
        return;
    }
    for (size_t b = 0; b < w->buckets; b++) {
        corechain_point *bucket = &w->points[w->firsts[b]];
        uint32_t size = w->sizes[b];
        if (size > 1 && size % 2) bucket[size / 2] = bucket[size - 1];
        w->sizes[b] = (size + 1) / 2;
    }
}

/* ---- the sum ---- */

/* The sum of digit times bucket: bucket d counts in each of d running sums. */
static void sum_buckets(const work *w, secp256k1_gej *sum) {
    secp256k1_gej running;
    secp256k1_gej_set_infinity(&running);
    secp256k1_gej_set_infinity(sum);
    for (size_t b = w->buckets; b-- > 0;) {
        if (w->sizes[b]) {
            const corechain_point *point = &w->points[w->firsts[b]];
            secp256k1_ge affine;
            secp256k1_ge_set_xy(&affine, &point->x, &point->y);
            secp256k1_gej_add_ge_var(&running, &running, &affine, NULL);
        }
        secp256k1_gej_add_var(sum, sum, &running, NULL);
    }
}

static int make_room(work *w) {
    size_t count = w->count, most = count / 2 + 1;
    w->points = malloc(count * sizeof *w->points);
    w->digits = malloc(count * sizeof *w->digits);
    w->carries = calloc(count, sizeof *w->carries);
    w->firsts = malloc(w->buckets * sizeof *w->firsts);
    w->sizes = malloc(w->buckets * sizeof *w->sizes);
    w->pairs = malloc(most * sizeof *w->pairs);
    w->kinds = malloc(most * sizeof *w->kinds);
    w->bottoms = malloc(most * sizeof *w->bottoms);
    w->products = malloc(most * sizeof *w->products);
    if (corechain_has_lanes()) {
        w->targets = malloc(most * sizeof *w->targets);
        w->lanes = malloc((most / LANES + 1) * sizeof *w->lanes);
        if (!w->targets || !w->lanes) return 0;
    }
    return w->points && w->digits && w->carries && w->firsts && w->sizes && w->pairs && w->kinds &&
           w->bottoms && w->products;
}

static void free_room(work *w) {
    free(w->points);
    free(w->digits);
    free(w->carries);
    free(w->firsts);
    free(w->sizes);
    free(w->pairs);
    free(w->kinds);
    free(w->bottoms);
    free(w->products);
    free(w->targets);
    free(w->lanes);
}

/* The windows are read from the lowest, as digits carry, and weighed from the highest. */
static void sum_windows(work *w, secp256k1_gej *sum) {
    secp256k1_gej of_window[BITS];
    int windows = (BITS + w->width - 1) / w->width;
    for (int window = 0; window < windows; window++) {
        read_digits(w, window);
        fill_buckets(w);
        for (size_t pairs; (pairs = list_pairs(w)) > 0;) add_pairs(w, pairs);
        sum_buckets(w, &of_window[window]);
    }
    secp256k1_gej_set_infinity(sum);
    for (int window = windows; window-- > 0;) {
        for (int i = 0; i < w->width; i++) secp256k1_gej_double_var(sum, sum, NULL);
        secp256k1_gej_add_var(sum, sum, &of_window[window], NULL);
    }
}

int corechain_sum_terms(const corechain_term *terms, size_t count, secp256k1_gej *sum) {
    work w = {0};
    int has_room;
    w.terms = terms;
    w.count = count;
    w.width = width_of(count);
    w.buckets = (size_t)1 << (w.width - 1);
    has_room = make_room(&w);
    if (has_room) sum_windows(&w, sum);
    free_room(&w);
    return has_room ? 0 : -2;
}
