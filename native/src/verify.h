#ifndef CORECHAIN_VERIFY_H
#define CORECHAIN_VERIFY_H
#include <stddef.h>
#include <stdint.h>

/* What is known of a report after corechain_verify_frame. */
enum corechain_verdict {
    CORECHAIN_VALID = 0,
    CORECHAIN_INVALID = 1,
    CORECHAIN_LEARNED = 2, /* valid, and `keys` now holds the device's key */
    CORECHAIN_UNJUDGED = 3 /* a device of another curve */
};

/* Bytes of randomness for a frame: a factor a report, and keys for a hash table. */
enum { CORECHAIN_FACTOR_BYTES = 16, CORECHAIN_SEED_BYTES = 40 };

/* Checks the secp256k1 signatures of a frame, all at once where the keys are known.
 *
 * `starts` (count + 1) are offsets into `packed`: report i is packed[starts[i] .. starts[i + 1]).
 * A report is device (20), sequence (8), count (2), observations, signature (64, EIP-2098).
 * separator   32 bytes, of the EIP-712 domain
 * devices     20 bytes a report: whose key must have signed it
 * curves      1 byte a report: 1 secp256k1, anything else is left unjudged
 * keys        64 bytes a report (x, y; big-endian): the device's public key, or zeros; read and written
 * random      16 bytes a report and 40 more, unpredictable to whoever made the frame
 * digests     32 bytes a report, written: what each device signed (EIP-712), of every curve
 * verdicts    1 byte a report, written
 *
 * Returns 0; -1 when the offsets do not fit the bytes; -2 when there is no memory. */
int corechain_verify_frame(const uint8_t *packed, size_t length, const uint32_t *starts,
                           size_t count, const uint8_t *separator, const uint8_t *devices,
                           const uint8_t *curves, uint8_t *keys, const uint8_t *random,
                           uint8_t *digests, uint8_t *verdicts);

/* For tests, which compare: with 0 no vector is used for fields and points. Whether one is now. */
int corechain_use_lanes(int use);

#endif
