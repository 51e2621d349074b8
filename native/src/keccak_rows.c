#include "keccak_rows.h"

#include <string.h>

#include "keccak.h"

#define RATE KECCAK_RATE
#define DIGEST 26

static void rows_one_by_one(const uint8_t *rows, size_t stride, size_t size, size_t count,
                            uint8_t *hashes, size_t hash_stride, size_t hash_size) {
    for (size_t i = 0; i < count; i++) {
        uint8_t digest[32];
        corechain_keccak256(rows + stride * i, size, digest);
        memcpy(hashes + hash_stride * i, digest, hash_size);
    }
}

/* The vectors' lanes are read as they lie in memory: little-endian, as every x86 is. */
#if defined(__x86_64__) && defined(__GNUC__)
#define VECTORS 1

typedef uint64_t vector4 __attribute__((vector_size(32)));
typedef uint64_t vector8 __attribute__((vector_size(64)));

#define LANES 4
#define VECTOR vector4
#define TARGET __attribute__((target("avx2")))
#define NAMED(name) name##_of_4
#include "keccak_lanes.h"
#undef LANES
#undef VECTOR
#undef TARGET
#undef NAMED

#define LANES 8
#define VECTOR vector8
#define TARGET __attribute__((target("avx512f")))
#define NAMED(name) name##_of_8
#include "keccak_lanes.h"
#endif

void corechain_hash_rows(const uint8_t *rows, size_t stride, size_t size, size_t count,
                         uint8_t *hashes, size_t hash_stride, size_t hash_size) {
#ifdef VECTORS
    /* A vector of which one lane is used takes longer than one hash. */
    if (count > 1 && __builtin_cpu_supports("avx512f")) {
        rows_of_8(rows, stride, size, count, hashes, hash_stride, hash_size);
        return;
    }
    if (count > 1 && __builtin_cpu_supports("avx2")) {
        rows_of_4(rows, stride, size, count, hashes, hash_stride, hash_size);
        return;
    }
#endif
    rows_one_by_one(rows, stride, size, count, hashes, hash_stride, hash_size);
}

void corechain_hash26_rows(const uint8_t *rows, size_t stride, size_t size, size_t count,
                           uint8_t *hashes, size_t hash_stride) {
    corechain_hash_rows(rows, stride, size, count, hashes, hash_stride, DIGEST);
}

int corechain_hash26_slices(const uint8_t *packed, size_t length, const uint32_t *offsets,
                            size_t count, uint8_t *hashes) {
    for (size_t i = 0; i < count; i++)
        if (offsets[i] > offsets[i + 1]) return -1;
    if (offsets[count] > length) return -1;
    for (size_t i = 0, end; i < count; i = end) {
        /* Neighbours of one size are rows. */
        size_t size = offsets[i + 1] - offsets[i];
        for (end = i + 1; end < count && offsets[end + 1] - offsets[end] == size;) end++;
        corechain_hash26_rows(packed + offsets[i], size, size, end - i, hashes + DIGEST * i, DIGEST);
    }
    return 0;
}
