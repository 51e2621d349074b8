/* The field in eight lanes: 52 bits a limb are what the processor's instructions multiply, and how
 * libsecp256k1 keeps an element in 64-bit words. Nothing secret comes here. */

/* The library's internals, which it does not export: its headers are its implementation. */
#pragma GCC diagnostic ignored "-Wunused-function"
#include "lanes.h"

#include "verify.h"

#include "assumptions.h"
#include "util.h"
#include "field_impl.h"
#include "int128_impl.h"

static int wanted = 1;

int corechain_use_lanes(int use) {
    wanted = use;
    return corechain_has_lanes();
}

#if defined(__x86_64__) && defined(__GNUC__) && defined(SECP256K1_WIDEMUL_INT128)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512ifma")))
#define INLINE TARGET static inline

/* p = 2^256 - FOLD. A limb of 2^260 counts FOLD * 16. */
#define FOLD 0x1000003D1ULL
#define MASK 0xFFFFFFFFFFFFFULL
#define TOP_MASK 0xFFFFFFFFFFFFULL

/* Limbs below 2^52, the highest one below 2^49. */
typedef struct {
    __m512i n[LIMBS];
} field;

int corechain_has_lanes(void) {
    return wanted && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512ifma");
}

INLINE __m512i all(uint64_t word) { return _mm512_set1_epi64((long long)word); }

INLINE field load(const corechain_lanes *from) {
    field a;
    for (int i = 0; i < LIMBS; i++) a.n[i] = _mm512_loadu_si512(from->limbs[i]);
    return a;
}

INLINE void store(corechain_lanes *to, const field *a) {
    for (int i = 0; i < LIMBS; i++) _mm512_storeu_si512(to->limbs[i], a->n[i]);
}

/* Of limbs below 2^62. What exceeds 2^256 is folded first, so that one run of carries is enough. */
INLINE void carry(__m512i *n) {
    const __m512i mask = all(MASK);
    __m512i excess = _mm512_srli_epi64(n[4], 48);
    n[4] = _mm512_and_si512(n[4], all(TOP_MASK));
    n[0] = _mm512_madd52lo_epu64(n[0], excess, all(FOLD));
    for (int i = 0; i < LIMBS - 1; i++) {
        n[i + 1] = _mm512_add_epi64(n[i + 1], _mm512_srli_epi64(n[i], 52));
        n[i] = _mm512_and_si512(n[i], mask);
    }
}

/* Of ten limbs below 2^60: the upper five count FOLD * 16 each in the lower ones. */
INLINE field reduce(__m512i *t) {
    const __m512i mask = all(MASK), fold = all(FOLD << 4);
    __m512i rest = _mm512_setzero_si512();
    field r;
    for (int i = 5; i < 9; i++) {
        t[i + 1] = _mm512_add_epi64(t[i + 1], _mm512_srli_epi64(t[i], 52));
        t[i] = _mm512_and_si512(t[i], mask);
    }
    for (int i = 0; i < LIMBS; i++) t[i] = _mm512_madd52lo_epu64(t[i], t[i + 5], fold);
    for (int i = 0; i < LIMBS - 1; i++) t[i + 1] = _mm512_madd52hi_epu64(t[i + 1], t[i + 5], fold);
    rest = _mm512_madd52hi_epu64(rest, t[9], fold);
    t[0] = _mm512_madd52lo_epu64(t[0], rest, fold);
    t[1] = _mm512_madd52hi_epu64(t[1], rest, fold);
    for (int i = 0; i < LIMBS; i++) r.n[i] = t[i];
    carry(r.n);
    return r;
}

INLINE field multiply(const field *a, const field *b) {
    __m512i t[10];
    for (int i = 0; i < 10; i++) t[i] = _mm512_setzero_si512();
    for (int i = 0; i < LIMBS; i++) {
        for (int j = 0; j < LIMBS; j++) {
            t[i + j] = _mm512_madd52lo_epu64(t[i + j], a->n[i], b->n[j]);
            t[i + j + 1] = _mm512_madd52hi_epu64(t[i + j + 1], a->n[i], b->n[j]);
        }
    }
    return reduce(t);
}

INLINE field square(const field *a) {
    __m512i t[10];
    for (int i = 0; i < 10; i++) t[i] = _mm512_setzero_si512();
    for (int i = 0; i < LIMBS; i++) {
        for (int j = i + 1; j < LIMBS; j++) {
            t[i + j] = _mm512_madd52lo_epu64(t[i + j], a->n[i], a->n[j]);
            t[i + j + 1] = _mm512_madd52hi_epu64(t[i + j + 1], a->n[i], a->n[j]);
        }
    }
    for (int i = 0; i < 10; i++) t[i] = _mm512_add_epi64(t[i], t[i]);
    for (int i = 0; i < LIMBS; i++) {
        t[2 * i] = _mm512_madd52lo_epu64(t[2 * i], a->n[i], a->n[i]);
        t[2 * i + 1] = _mm512_madd52hi_epu64(t[2 * i + 1], a->n[i], a->n[i]);
    }
    return reduce(t);
}

/* a - b. Four times the prime is added, limb by limb, so that no limb falls below zero. */
INLINE field subtract(const field *a, const field *b) {
    field r;
    r.n[0] = _mm512_add_epi64(a->n[0], all(4 * (MASK - FOLD + 1)));
    for (int i = 1; i < LIMBS - 1; i++) r.n[i] = _mm512_add_epi64(a->n[i], all(4 * MASK));
    r.n[4] = _mm512_add_epi64(a->n[4], all(4 * TOP_MASK));
    for (int i = 0; i < LIMBS; i++) r.n[i] = _mm512_sub_epi64(r.n[i], b->n[i]);
    carry(r.n);
    return r;
}

/* ---- roots ---- */

INLINE field square_times(field a, int times) {
    for (int i = 0; i < times; i++) a = square(&a);
    return a;
}

INLINE field joined(field a, int times, const field *b) {
    a = square_times(a, times);
    return multiply(&a, b);
}

/* a^((p + 1) / 4): the prime is 3 modulo 4. The exponent is 223 ones, a zero, 22 ones, four zeros,
 * two ones, two zeros in binary; `x_n` is a to the power of n ones. */
TARGET static field root(const field *a) {
    field x2 = joined(*a, 1, a), x3 = joined(x2, 1, a), x6 = joined(x3, 3, &x3);
    field x9 = joined(x6, 3, &x3), x11 = joined(x9, 2, &x2), x22 = joined(x11, 11, &x11);
    field x44 = joined(x22, 22, &x22), x88 = joined(x44, 44, &x44), x176 = joined(x88, 88, &x88);
    field x220 = joined(x176, 44, &x44), x223 = joined(x220, 3, &x3);
    field found = joined(x223, 23, &x22);
    return square_times(joined(found, 6, &x2), 2);
}

static void put_lane(corechain_lanes *to, int lane, const secp256k1_fe *a) {
    for (int i = 0; i < LIMBS; i++) to->limbs[i][lane] = a->n[i];
}

static secp256k1_fe lane_of(const corechain_lanes *from, int lane) {
    secp256k1_fe a;
    for (int i = 0; i < LIMBS; i++) a.n[i] = from->limbs[i][lane];
    return a;
}

TARGET void corechain_roots_in_lanes(const secp256k1_fe *squares, secp256k1_fe *roots,
                                     size_t count) {
    for (size_t at = 0; at < count; at += LANES) {
        corechain_lanes group;
        size_t many = count - at < LANES ? count - at : LANES;
        for (size_t i = 0; i < LANES; i++)
            put_lane(&group, (int)i, &squares[at + (i < many ? i : 0)]);
        field a = load(&group), found = root(&a);
        store(&group, &found);
        for (size_t i = 0; i < many; i++) roots[at + i] = lane_of(&group, (int)i);
    }
}

/* ---- pairs ---- */

/* Lanes without a pair of their own do the first pair's work once more. */
static void gather(corechain_pairs *group, const corechain_point *points, const uint32_t *pairs,
                   size_t at, size_t count) {
    for (int lane = 0; lane < LANES; lane++) {
        const corechain_point *pair = &points[pairs[at + (size_t)lane < count ? at + (size_t)lane : 0]];
        put_lane(&group->ax, lane, &pair[0].x);
        put_lane(&group->ay, lane, &pair[0].y);
        put_lane(&group->bx, lane, &pair[1].x);
        put_lane(&group->by, lane, &pair[1].y);
    }
}

/* The product of all denominators, lane by lane; each group keeps that of the groups before. */
TARGET static corechain_lanes multiply_bottoms(corechain_pairs *groups, size_t count) {
    corechain_lanes product;
    field running = {{all(1)}};
    for (int i = 1; i < LIMBS; i++) running.n[i] = _mm512_setzero_si512();
    for (size_t g = 0; g < count; g++) {
        field ax = load(&groups[g].ax), bx = load(&groups[g].bx), bottom = subtract(&bx, &ax);
        store(&groups[g].product, &running);
        store(&groups[g].bottom, &bottom);
        running = multiply(&running, &bottom);
    }
    store(&product, &running);
    return product;
}

/* Each lane becomes its inverse, by one inversion for all. 0 where one is zero. */
static int invert(corechain_lanes *lanes) {
    secp256k1_fe before[LANES], product = lane_of(lanes, 0), inverse;
    for (int i = 1; i < LANES; i++) {
        secp256k1_fe lane = lane_of(lanes, i);
        before[i] = product;
        secp256k1_fe_mul(&product, &product, &lane);
    }
    if (secp256k1_fe_normalizes_to_zero_var(&product)) return 0;
    secp256k1_fe_inv_var(&inverse, &product);
    for (int i = LANES - 1; i > 0; i--) {
        secp256k1_fe lane = lane_of(lanes, i), of_lane;
        secp256k1_fe_mul(&of_lane, &inverse, &before[i]);
        secp256k1_fe_mul(&inverse, &inverse, &lane);
        put_lane(lanes, i, &of_lane);
    }
    put_lane(lanes, 0, &inverse);
    return 1;
}

/* The sums of a group: x and y take the place of the first points. */
INLINE void add_group(corechain_pairs *group, const field *inverse) {
    field ax = load(&group->ax), ay = load(&group->ay), bx = load(&group->bx);
    field by = load(&group->by), slope = subtract(&by, &ay), x, y;
    slope = multiply(&slope, inverse);
    x = square(&slope);
    x = subtract(&x, &ax);
    x = subtract(&x, &bx);
    y = subtract(&ax, &x);
    y = multiply(&y, &slope);
    y = subtract(&y, &ay);
    store(&group->ax, &x);
    store(&group->ay, &y);
}

TARGET static void add_groups(corechain_pairs *groups, size_t count, const corechain_lanes *inverses) {
    field inverse = load(inverses);
    for (size_t g = count; g-- > 0;) {
        field product = load(&groups[g].product), bottom = load(&groups[g].bottom);
        field of_pair = multiply(&inverse, &product);
        inverse = multiply(&inverse, &bottom);
        add_group(&groups[g], &of_pair);
    }
}

int corechain_add_in_lanes(corechain_point *points, const uint32_t *pairs, const uint32_t *targets,
                           size_t count, corechain_pairs *room) {
    size_t groups = (count + LANES - 1) / LANES;
    for (size_t g = 0; g < groups; g++) gather(&room[g], points, pairs, LANES * g, count);
    corechain_lanes inverses = multiply_bottoms(room, groups);
    if (!invert(&inverses)) return 0;
    add_groups(room, groups, &inverses);
    for (size_t i = 0; i < count; i++) {
        corechain_point *sum = &points[targets[i]];
        sum->x = lane_of(&room[i / LANES].ax, (int)(i % LANES));
        sum->y = lane_of(&room[i / LANES].ay, (int)(i % LANES));
    }
    return 1;
}

#else

int corechain_has_lanes(void) { return wanted && 0; }

void corechain_roots_in_lanes(const secp256k1_fe *squares, secp256k1_fe *roots, size_t count) {
    (void)squares;
    (void)roots;
    (void)count;
}

int corechain_add_in_lanes(corechain_point *points, const uint32_t *pairs, const uint32_t *targets,
                           size_t count, corechain_pairs *room) {
    (void)points;
    (void)pairs;
    (void)targets;
    (void)count;
    (void)room;
    return 0;
}

#endif
