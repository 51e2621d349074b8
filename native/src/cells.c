#include "cells.h"

#define DIGITS 15
#define UNUSED 7

/* The twelve base cells that are pentagons (h3geo.org). */
static int is_pentagon(uint64_t base) {
    static const uint8_t pentagons[] = {4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117};
    for (unsigned i = 0; i < sizeof pentagons; i++)
        if (pentagons[i] == base) return 1;
    return 0;
}

int corechain_is_cell(uint64_t index) {
    uint64_t resolution = index >> 52 & 15, base = index >> 45 & 127, first = 0;
    if (index >> 56 != 8 || base > 121) return 0;
    for (unsigned level = 1; level <= DIGITS; level++) {
        uint64_t digit = index >> 3 * (DIGITS - level) & 7;
        if ((digit == UNUSED) != (level > resolution)) return 0;
        if (!first && level <= resolution) first = digit;
    }
    /* A pentagon has no child in direction 1. */
    return first != 1 || !is_pentagon(base);
}
