#ifndef CORECHAIN_LOGS_H
#define CORECHAIN_LOGS_H
#include <stddef.h>
#include <stdint.h>

/* A log of an answer to eth_getLogs. Its topics and right behind them its data are in a heap that
 * all logs of the answer share, from `from` on. */
typedef struct {
    uint64_t block_number;
    uint32_t index, from, data_size, topics;
    uint8_t address[20], block_hash[32], transaction[32];
} corechain_log;

/* Reads `body`, the JSON of an array of logs, when it is plainly good: the number of logs, or -1 where
 * it is not, or where room is short. The reference then judges it. The heap never needs more than half
 * of `length`. */
int64_t corechain_read_logs(const uint8_t *body, size_t length, corechain_log *logs, size_t room,
                            uint8_t *heap, size_t heap_room);

/* Whether the logs are in chain order without two at one place, in the blocks first to last, all of a
 * block with one hash, and each of one of the addresses (of anybody where `contracts` is 0). */
int corechain_logs_fit(const corechain_log *logs, size_t count, const uint8_t *addresses,
                       size_t contracts, uint64_t first, uint64_t last);

/* The places of the logs that begin a run of one block and contract, ascending; how many there are,
 * `count` at most. */
size_t corechain_leading_logs(const corechain_log *logs, size_t count, uint32_t *places);

#endif
