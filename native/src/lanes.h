#ifndef CORECHAIN_LANES_H
#define CORECHAIN_LANES_H
/* Arithmetic modulo secp256k1's prime in eight lanes of a vector, where the processor has AVX-512
 * IFMA. Not for Python. Every caller has another way, which says the same. */
#include <stddef.h>
#include <stdint.h>

#include "sums.h"

enum { LANES = 8, LIMBS = 5 };

/* Eight field elements, limb by limb, 52 bits each. */
typedef struct {
    uint64_t limbs[LIMBS][LANES];
} corechain_lanes;

/* Eight pairs of points, the slopes' denominators, and the products of those of later groups. */
typedef struct {
    corechain_lanes ax, ay, bx, by, bottom, product;
} corechain_pairs;

/* Whether this processor can. If not, nothing else may be called. */
int corechain_has_lanes(void);

/* roots[i]^2 = squares[i], where there is a root; both normalized weakly. The caller looks. */
void corechain_roots_in_lanes(const secp256k1_fe *squares, secp256k1_fe *roots, size_t count);

/* Adds points[pairs[i]] and the one behind it; the sum goes to points[targets[i]] when all pairs are
 * read. `room` is for (count + 7) / 8 groups. 0, and nothing is done, where the points of a pair
 * have one abscissa. */
int corechain_add_in_lanes(corechain_point *points, const uint32_t *pairs, const uint32_t *targets,
                           size_t count, corechain_pairs *room);

#endif
