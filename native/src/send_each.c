#include "send_each.h"

#include <sys/socket.h>

/* Darwin has none: there Python itself ignores SIGPIPE, as it does everywhere. */
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

size_t corechain_send_each(const int32_t *sockets, size_t count, const uint8_t *data,
                           uint32_t length, uint32_t *taken) {
    size_t whole = 0;
    for (size_t i = 0; i < count; i++) {
        ssize_t sent = send(sockets[i], data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        /* What is wrong with it, its owner is told at the next attempt. */
        taken[i] = sent > 0 ? (uint32_t)sent : 0;
        whole += taken[i] == length;
    }
    return whole;
}
