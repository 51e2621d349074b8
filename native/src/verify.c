/* Signatures of whole frames: batch verification of ECDSA on secp256k1.
 *
 * A compact signature (EIP-2098) says which of two points R is, so that a signature holds exactly
 * when R = m/s G + r/s Q, for digest m and key Q. Many such equations are checked as one sum with
 * random factors a (Naccache et al., EUROCRYPT 1994; Bellare, Garay, Rabin, EUROCRYPT 1998):
 *
 *     sum of a m/s  G  +  sum over keys of (sum of a r/s)  Q  -  sum of a R  =  0
 *
 * A wrong signature passes with a chance of 2^-127: the factors are drawn when the frame is here.
 * When the sum is not zero each equation is checked alone, and what does not hold by recovery, as
 * the reference does. */

/* The library's internals, which it does not export: its headers are its implementation. */
#pragma GCC diagnostic ignored "-Wunused-function"
#include "verify.h"

#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "keccak.h"
#include "keccak_rows.h"
#include "lanes.h"
#include "sums.h"
#include "assumptions.h"
#include "util.h"
#include "field_impl.h"
#include "scalar_impl.h"
#include "group_impl.h"
#include "int128_impl.h"
#include "scratch_impl.h"
#include "ecmult_impl.h"

enum { DEVICE = 20, SEQUENCE_AT = 20, HEAD = 30, SIGNATURE = 64, KEY = 64, DIGEST = 32 };
enum { STRUCT = 128, TYPED = 66 }; /* what is hashed of a report, and that with its domain */
enum { SECP256K1 = 1 };

/* So many reports are one sum at most: 10 MiB of memory, and twice as many gain 5 % only. */
enum { MOST_IN_A_SUM = 8192 };

/* Reports that are hashed, and roots that are taken, together: a vector's lanes, some times over. */
enum { AT_ONCE = 64 };

/* From so many points on buckets are cheaper than the library's tables of multiples, as measured. */
enum { MANY_TERMS = 56 };

/* Below, each alone is cheaper. */
enum { FEWEST_IN_A_SUM = 2 };

/* keccak256("Report(address device,uint64 sequence,bytes32 observationsHash)") */
static const char REPORT_TYPE[] = "Report(address device,uint64 sequence,bytes32 observationsHash)";

typedef struct {
    secp256k1_scalar r, s, message;
    secp256k1_ge point; /* R */
    secp256k1_scalar factor;
    int negative, odd;
    size_t report, signer;
} claim;

typedef struct {
    const uint8_t *device;
    int known;
    secp256k1_ge key;
    secp256k1_scalar factor;
} signer;

typedef struct {
    const uint8_t *packed, *devices, *curves, *random;
    const uint32_t *starts;
    uint8_t *keys, *digests, *verdicts;
    uint64_t seed[DEVICE / 4];
} frame;

/* Room for one sum, allocated once a call. */
typedef struct {
    claim *claims;
    signer *signers;
    secp256k1_scalar *inverses;
    uint32_t *slots; /* hash table: 1 + index into signers; 0 is free */
    size_t mask, claim_count, signer_count;
} batch;

static void no_abort(const char *text, void *data) {
    (void)text;
    (void)data;
}

/* The library's default would abort the process; every allocation is looked at instead. */
static const secp256k1_callback QUIET = {no_abort, NULL};

/* ---- digests ---- */

/* EIP-712: 0x19 0x01, the domain's separator, and the hash of type, device, sequence and the hash of
 * the observations. Reports of one size are hashed some at a time, each in a lane of a vector. */
static void hash_equally_long(const frame *f, size_t from, size_t count, const uint8_t *type_hash,
                              const uint8_t *separator) {
    uint8_t structs[AT_ONCE][STRUCT] = {{0}}, typed[AT_ONCE][TYPED];
    const uint8_t *report = f->packed + f->starts[from];
    size_t size = f->starts[from + 1] - f->starts[from];
    for (size_t i = 0; i < count; i++) {
        memcpy(structs[i], type_hash, 32);
        memcpy(structs[i] + 44, report + size * i, DEVICE);
        memcpy(structs[i] + 88, report + size * i + SEQUENCE_AT, 8);
        memcpy(typed[i], "\x19\x01", 2);
        memcpy(typed[i] + 2, separator, 32);
    }
    corechain_hash_rows(report + HEAD, size, size - HEAD - SIGNATURE, count, structs[0] + 96, STRUCT,
                        DIGEST);
    corechain_hash_rows(structs[0], STRUCT, STRUCT, count, typed[0] + 34, TYPED, DIGEST);
    corechain_hash_rows(typed[0], TYPED, TYPED, count, f->digests + DIGEST * from, DIGEST, DIGEST);
}

static void hash_reports(const frame *f, size_t count, const uint8_t *separator) {
    uint8_t type_hash[32];
    corechain_keccak256((const uint8_t *)REPORT_TYPE, sizeof REPORT_TYPE - 1, type_hash);
    for (size_t i = 0, end; i < count; i = end) {
        uint32_t size = f->starts[i + 1] - f->starts[i];
        for (end = i + 1; end < count && end - i < AT_ONCE; end++)
            if (f->starts[end + 1] - f->starts[end] != size) break;
        hash_equally_long(f, i, end - i, type_hash, separator);
    }
}

/* ---- one signature ---- */

/* Reads r, s, R's abscissa and the digest. 0 for what no key can have signed, or what is no low-s
 * encoding: r or s zero, r not below the order, s above half of it. */
static int read_claim(const frame *f, size_t report, claim *c) {
    const uint8_t *bytes = f->packed + f->starts[report + 1] - SIGNATURE;
    uint8_t s[32];
    int overflow;
    c->odd = bytes[32] >> 7;
    memcpy(s, bytes + 32, 32);
    s[0] &= 0x7f;
    secp256k1_scalar_set_b32(&c->r, bytes, &overflow);
    if (overflow || secp256k1_scalar_is_zero(&c->r)) return 0;
    secp256k1_scalar_set_b32(&c->s, s, &overflow);
    if (overflow || secp256k1_scalar_is_zero(&c->s) || secp256k1_scalar_is_high(&c->s)) return 0;
    /* x is r itself: with 64 bytes nobody can say r + n. */
    if (!secp256k1_fe_set_b32_limit(&c->point.x, bytes)) return 0;
    secp256k1_scalar_set_b32(&c->message, f->digests + DIGEST * report, NULL);
    c->report = report;
    return 1;
}

static void find_roots(const secp256k1_fe *squares, secp256k1_fe *roots, size_t count) {
    if (count > 1 && corechain_has_lanes()) {
        corechain_roots_in_lanes(squares, roots, count);
        return;
    }
    for (size_t i = 0; i < count; i++) secp256k1_fe_sqrt(&roots[i], &squares[i]);
}

static void write_key(secp256k1_ge *point, uint8_t *key) {
    secp256k1_fe_normalize_var(&point->x);
    secp256k1_fe_normalize_var(&point->y);
    secp256k1_fe_get_b32(key, &point->x);
    secp256k1_fe_get_b32(key + 32, &point->y);
}

/* The key that made a signature: Q = (s R - m G) / r. 0 when it is the point at infinity. */
static int recover(const claim *c, secp256k1_ge *key) {
    secp256k1_scalar inverse, of_point, of_generator;
    secp256k1_gej point, sum;
    secp256k1_scalar_inverse_var(&inverse, &c->r);
    secp256k1_scalar_mul(&of_point, &inverse, &c->s);
    secp256k1_scalar_mul(&of_generator, &inverse, &c->message);
    secp256k1_scalar_negate(&of_generator, &of_generator);
    secp256k1_gej_set_ge(&point, &c->point);
    secp256k1_ecmult(&sum, &point, &of_point, &of_generator);
    if (secp256k1_gej_is_infinity(&sum)) return 0;
    secp256k1_ge_set_gej_var(key, &sum);
    return 1;
}

/* Whether the device's own key made the signature; writes that key. */
static int signed_by(const claim *c, const uint8_t *device, secp256k1_ge *key, uint8_t *bytes) {
    uint8_t hash[32], found[KEY];
    if (!recover(c, key)) return 0;
    write_key(key, found);
    corechain_keccak256(found, KEY, hash);
    if (memcmp(hash + 12, device, DEVICE) != 0) return 0;
    memcpy(bytes, found, KEY);
    return 1;
}

/* ---- the signers of a sum ---- */

/* Keyed at random: who chooses device ids must not choose how long a frame takes. */
static size_t slot_of(const frame *f, const batch *b, const uint8_t *device) {
    uint64_t hash = 0;
    for (int i = 0; i < DEVICE / 4; i++) {
        uint32_t word;
        memcpy(&word, device + 4 * i, 4);
        hash += f->seed[i] * word;
    }
    return (size_t)(hash >> 32) & b->mask;
}

static void load_key(signer *s, const uint8_t *key) {
    static const uint8_t unknown[KEY] = {0};
    secp256k1_fe x, y;
    if (memcmp(key, unknown, KEY) == 0) return;
    if (!secp256k1_fe_set_b32_limit(&x, key) || !secp256k1_fe_set_b32_limit(&y, key + 32)) return;
    secp256k1_ge_set_xy(&s->key, &x, &y);
    s->known = secp256k1_ge_is_valid_var(&s->key);
}

/* The device's entry: one for all its reports, so that its key is multiplied once. */
static size_t signer_of(const frame *f, batch *b, size_t report) {
    const uint8_t *device = f->devices + DEVICE * report;
    size_t slot = slot_of(f, b, device);
    for (; b->slots[slot]; slot = (slot + 1) & b->mask) {
        size_t found = b->slots[slot] - 1;
        if (memcmp(b->signers[found].device, device, DEVICE) == 0) return found;
    }
    signer *added = &b->signers[b->signer_count];
    added->device = device;
    added->known = 0;
    secp256k1_scalar_set_int(&added->factor, 0);
    load_key(added, f->keys + KEY * report);
    b->slots[slot] = (uint32_t)++b->signer_count;
    return b->signer_count - 1;
}

/* ---- the claims of a sum ---- */

static void read_claims(const frame *f, batch *b, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        int is_ours = f->curves[i] == SECP256K1;
        f->verdicts[i] = is_ours ? CORECHAIN_INVALID : CORECHAIN_UNJUDGED;
        if (is_ours && read_claim(f, i, &b->claims[b->claim_count])) b->claim_count++;
    }
}

/* Gives a claim the ordinate that it says; 0 where `y` is no root of the curve's equation. */
static int set_ordinate(claim *c, const secp256k1_fe *square, secp256k1_fe y) {
    secp256k1_fe found;
    secp256k1_fe_sqr(&found, &y);
    if (!secp256k1_fe_equal(&found, square)) return 0;
    secp256k1_fe_normalize_var(&y);
    if (secp256k1_fe_is_odd(&y) != c->odd) {
        secp256k1_fe_negate(&y, &y, 1);
        secp256k1_fe_normalize_weak(&y);
    }
    secp256k1_ge_set_xy(&c->point, &c->point.x, &y);
    return 1;
}

/* Finds R's ordinates; claims without a point leave the sum. A root takes 250 multiplications, one
 * after another: eight at once are four times as fast. */
static void find_points(batch *b) {
    size_t kept = 0;
    for (size_t at = 0; at < b->claim_count; at += AT_ONCE) {
        secp256k1_fe squares[AT_ONCE], roots[AT_ONCE];
        size_t many = b->claim_count - at < AT_ONCE ? b->claim_count - at : AT_ONCE;
        for (size_t i = 0; i < many; i++) {
            const secp256k1_fe *x = &b->claims[at + i].point.x;
            secp256k1_fe_sqr(&squares[i], x);
            secp256k1_fe_mul(&squares[i], &squares[i], x);
            secp256k1_fe_add_int(&squares[i], SECP256K1_B);
            secp256k1_fe_normalize_weak(&squares[i]);
        }
        find_roots(squares, roots, many);
        for (size_t i = 0; i < many; i++) {
            b->claims[kept] = b->claims[at + i];
            kept += (size_t)set_ordinate(&b->claims[kept], &squares[i], roots[i]);
        }
    }
    b->claim_count = kept;
}

/* Finds the signers; a claim whose device's key is not known yet is judged at once. */
static void find_signers(const frame *f, batch *b) {
    size_t kept = 0;
    for (size_t i = 0; i < b->claim_count; i++) {
        claim *c = &b->claims[i];
        c->signer = signer_of(f, b, c->report);
        signer *s = &b->signers[c->signer];
        if (s->known) {
            b->claims[kept++] = *c;
        } else if (signed_by(c, s->device, &s->key, f->keys + KEY * c->report)) {
            s->known = 1;
            f->verdicts[c->report] = CORECHAIN_LEARNED;
        }
    }
    b->claim_count = kept;
}

/* ---- the sum ---- */

/* 127 bits and a sign. The library splits a scalar by an endomorphism into two halves of 128 bits;
 * below 2^127 the second half is zero and costs nothing, at 2^128 it often is not. */
static void draw_factor(const uint8_t *random, claim *c, secp256k1_scalar *signed_factor) {
    uint8_t bytes[32] = {0};
    memcpy(bytes + 16, random, 16);
    bytes[16] &= 0x7f;
    secp256k1_scalar_set_b32(&c->factor, bytes, NULL);
    *signed_factor = c->factor;
    c->negative = random[0] >> 7;
    if (c->negative) secp256k1_scalar_negate(signed_factor, signed_factor);
}

/* inverses[i] becomes 1 / s of claim i: one inversion for all (Montgomery's trick). */
static void invert_all(const batch *b) {
    secp256k1_scalar inverse, product = b->claims[0].s;
    b->inverses[0] = product;
    for (size_t i = 1; i < b->claim_count; i++) {
        secp256k1_scalar_mul(&product, &product, &b->claims[i].s);
        b->inverses[i] = product;
    }
    secp256k1_scalar_inverse_var(&inverse, &product);
    for (size_t i = b->claim_count - 1; i > 0; i--) {
        secp256k1_scalar_mul(&b->inverses[i], &b->inverses[i - 1], &inverse);
        secp256k1_scalar_mul(&inverse, &inverse, &b->claims[i].s);
    }
    b->inverses[0] = inverse;
}

/* Draws the factors, gathers those of each key, and returns that of the generator. */
static void combine(const frame *f, batch *b, secp256k1_scalar *of_generator) {
    secp256k1_scalar_set_int(of_generator, 0);
    for (size_t i = 0; i < b->claim_count; i++) {
        claim *c = &b->claims[i];
        signer *s = &b->signers[c->signer];
        secp256k1_scalar factor, part;
        draw_factor(f->random + CORECHAIN_FACTOR_BYTES * c->report, c, &factor);
        secp256k1_scalar_mul(&factor, &factor, &b->inverses[i]);
        secp256k1_scalar_mul(&part, &factor, &c->message);
        secp256k1_scalar_add(of_generator, of_generator, &part);
        secp256k1_scalar_mul(&part, &factor, &c->r);
        secp256k1_scalar_add(&s->factor, &s->factor, &part);
    }
}

/* The i-th term: first every R, then every key. */
static int term(secp256k1_scalar *factor, secp256k1_ge *point, size_t i, void *data) {
    const batch *b = data;
    if (i < b->claim_count) {
        const claim *c = &b->claims[i];
        *factor = c->factor;
        *point = c->point;
        if (!c->negative) secp256k1_ge_neg(point, point); /* the sum has minus a R */
        return 1;
    }
    const signer *s = &b->signers[i - b->claim_count];
    *factor = s->factor;
    if (s->known) {
        *point = s->key;
    } else {
        secp256k1_ge_set_infinity(point); /* only wrong signatures: none is in the sum */
    }
    return 1;
}

/* The library's way, for few terms: Strauss's. */
static int sum_few(batch *b, const secp256k1_scalar *of_generator, secp256k1_gej *sum) {
    size_t terms = b->claim_count + b->signer_count;
    size_t size = secp256k1_strauss_scratch_size(terms) + STRAUSS_SCRATCH_OBJECTS * ALIGNMENT;
    secp256k1_scratch *scratch = secp256k1_scratch_create(&QUIET, size);
    if (scratch == NULL) return -2;
    int done = secp256k1_ecmult_strauss_batch(&QUIET, scratch, sum, of_generator, term, b, terms, 0);
    secp256k1_scratch_destroy(&QUIET, scratch);
    return done ? 0 : -2;
}

/* Adds a factor times a point; the factor has 128 bits, or is the opposite of one that has. */
static corechain_term *put_half(corechain_term *to, const secp256k1_ge *point,
                                const secp256k1_scalar *factor) {
    secp256k1_scalar size = *factor;
    secp256k1_ge signed_point = *point;
    uint8_t bytes[32];
    if (secp256k1_scalar_is_high(factor)) {
        secp256k1_scalar_negate(&size, factor);
        secp256k1_ge_neg(&signed_point, point);
    }
    secp256k1_fe_normalize_weak(&signed_point.x);
    secp256k1_fe_normalize_weak(&signed_point.y);
    secp256k1_scalar_get_b32(bytes, &size);
    *to = (corechain_term){{signed_point.x, signed_point.y},
                           big_endian(bytes + 24, 8), big_endian(bytes + 16, 8)};
    return to + 1;
}

/* Adds a factor of 256 bits times a point, as two of 128 (Gallant, Lambert, Vanstone, CRYPTO 2001):
 * lambda times a point costs one multiplication. */
static corechain_term *put_whole(corechain_term *to, const secp256k1_ge *point,
                                 const secp256k1_scalar *factor) {
    secp256k1_scalar of_point, of_multiple;
    secp256k1_ge multiple;
    secp256k1_scalar_split_lambda(&of_point, &of_multiple, factor);
    secp256k1_ge_mul_lambda(&multiple, point);
    return put_half(put_half(to, point, &of_point), &multiple, &of_multiple);
}

static int sum_many(const batch *b, const secp256k1_scalar *of_generator, secp256k1_gej *sum) {
    size_t most = b->claim_count + 2 * (b->signer_count + 1);
    corechain_term *terms = malloc(most * sizeof *terms), *to = terms;
    if (terms == NULL) return -2;
    for (size_t i = 0; i < b->claim_count; i++) {
        secp256k1_scalar factor;
        secp256k1_ge point;
        term(&factor, &point, i, (void *)b);
        to = put_half(to, &point, &factor);
    }
    for (size_t i = 0; i < b->signer_count; i++)
        if (b->signers[i].known) to = put_whole(to, &b->signers[i].key, &b->signers[i].factor);
    to = put_whole(to, &secp256k1_ge_const_g, of_generator);
    int failed = corechain_sum_terms(terms, (size_t)(to - terms), sum);
    free(terms);
    return failed;
}

/* 1 when every claim holds, 0 when one does not, -2 without memory. */
static int sum_is_zero(const frame *f, batch *b) {
    secp256k1_scalar of_generator;
    secp256k1_gej sum;
    int is_many = b->claim_count + b->signer_count >= MANY_TERMS;
    combine(f, b, &of_generator);
    int failed = is_many ? sum_many(b, &of_generator, &sum) : sum_few(b, &of_generator, &sum);
    return failed ? failed : secp256k1_gej_is_infinity(&sum);
}

/* R = m/s G + r/s Q, alone: two thirds of a recovery. `inverse` is 1/s. */
static int equation_holds(const claim *c, const secp256k1_scalar *inverse, const signer *s) {
    secp256k1_scalar of_key, of_generator;
    secp256k1_gej key, sum;
    secp256k1_scalar_mul(&of_key, &c->r, inverse);
    secp256k1_scalar_mul(&of_generator, &c->message, inverse);
    secp256k1_gej_set_ge(&key, &s->key);
    secp256k1_ecmult(&sum, &key, &of_key, &of_generator);
    return secp256k1_gej_eq_ge_var(&sum, &c->point);
}

/* What fails is recovered: that alone is what the reference does, whatever key we were given. */
static void judge_one_by_one(const frame *f, const batch *b) {
    for (size_t i = 0; i < b->claim_count; i++) {
        const claim *c = &b->claims[i];
        const signer *s = &b->signers[c->signer];
        secp256k1_ge key;
        int holds = equation_holds(c, &b->inverses[i], s) ||
                    signed_by(c, s->device, &key, f->keys + KEY * c->report);
        f->verdicts[c->report] = holds ? CORECHAIN_VALID : CORECHAIN_INVALID;
    }
}

static int judge(const frame *f, batch *b, size_t from, size_t to) {
    b->claim_count = b->signer_count = 0;
    memset(b->slots, 0, (b->mask + 1) * sizeof *b->slots);
    read_claims(f, b, from, to);
    find_points(b);
    find_signers(f, b);
    if (b->claim_count == 0) return 0;
    invert_all(b);
    int holds = b->claim_count < FEWEST_IN_A_SUM ? 0 : sum_is_zero(f, b);
    if (holds < 0) return holds;
    for (size_t i = 0; holds && i < b->claim_count; i++) {
        f->verdicts[b->claims[i].report] = CORECHAIN_VALID;
    }
    if (!holds) judge_one_by_one(f, b);
    return 0;
}

/* ---- the frame ---- */

static int fits(const uint32_t *starts, size_t count, size_t length) {
    for (size_t i = 0; i < count; i++) {
        if (starts[i] > length || starts[i + 1] > length) return 0;
        if (starts[i + 1] < starts[i] || starts[i + 1] - starts[i] < HEAD + SIGNATURE) return 0;
    }
    return 1;
}

static int make_room(batch *b, size_t reports) {
    size_t slots = 4;
    while (slots < 2 * reports) slots *= 2;
    b->mask = slots - 1;
    b->claims = malloc(reports * sizeof *b->claims);
    b->signers = malloc(reports * sizeof *b->signers);
    b->inverses = malloc(reports * sizeof *b->inverses);
    b->slots = malloc(slots * sizeof *b->slots);
    return b->claims && b->signers && b->inverses && b->slots;
}

static void free_room(batch *b) {
    free(b->claims);
    free(b->signers);
    free(b->inverses);
    free(b->slots);
}

int corechain_verify_frame(const uint8_t *packed, size_t length, const uint32_t *starts,
                           size_t count, const uint8_t *separator, const uint8_t *devices,
                           const uint8_t *curves, uint8_t *keys, const uint8_t *random,
                           uint8_t *digests, uint8_t *verdicts) {
    frame f = {packed, devices, curves, random, starts, keys, digests, verdicts, {0}};
    batch b = {0};
    int failed = 0;
    if (!fits(starts, count, length)) return -1;
    if (count == 0) return 0;
    memcpy(f.seed, random + CORECHAIN_FACTOR_BYTES * count, sizeof f.seed);
    hash_reports(&f, count, separator);
    if (make_room(&b, count < MOST_IN_A_SUM ? count : MOST_IN_A_SUM)) {
        for (size_t from = 0; from < count && !failed; from += MOST_IN_A_SUM) {
            size_t left = count - from;
            failed = judge(&f, &b, from, from + (left < MOST_IN_A_SUM ? left : MOST_IN_A_SUM));
        }
    } else {
        failed = -2;
    }
    free_room(&b);
    return failed;
}
