#ifndef CORECHAIN_SUMS_H
#define CORECHAIN_SUMS_H
/* Sums of many points of secp256k1. Not for Python: it speaks libsecp256k1's internal types. */
#include <stddef.h>
#include <stdint.h>

#include "field.h"
#include "group.h"

/* A point that is not infinity; both coordinates of magnitude 1. */
typedef struct {
    secp256k1_fe x, y;
} corechain_point;

/* `low` + 2^64 `high` times a point. */
typedef struct {
    corechain_point point;
    uint64_t low, high;
} corechain_term;

/* The sum of `count` terms, at least one. 0, or -2 without memory. Takes a time that depends on the
 * terms: nothing secret may be in them. */
int corechain_sum_terms(const corechain_term *terms, size_t count, secp256k1_gej *sum);

#endif
