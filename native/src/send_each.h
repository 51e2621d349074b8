#ifndef CORECHAIN_SEND_EACH_H
#define CORECHAIN_SEND_EACH_H
#include <stddef.h>
#include <stdint.h>

/* Sends the same bytes on each of `count` connected sockets and waits for none of them. `taken` is
 * how many bytes each one's kernel took, 0 where there was an error. Returns how many sockets took
 * all of them. */
size_t corechain_send_each(const int32_t *sockets, size_t count, const uint8_t *data,
                           uint32_t length, uint32_t *taken);

#endif
