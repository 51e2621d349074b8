#include "pages.h"

#include <string.h>

#include "bytes.h"

/* Dimensions, whether there are nulls, type of the elements, length, lower bound. */
#define HEADER 20
#define INT8 20
#define INT4 23
#define WORD 16
#define SECOND_BITS 40
#define FLAG_BITS 8
/* Above what a reading takes beside its device and end: its names, and nine numbers or words. */
#define READING_MAX 320

typedef struct {
    const uint8_t *elements;
    uint32_t width;
} column;

static int opened(column *c, const uint8_t *bytes, size_t size, uint32_t width, size_t count) {
    if (size < HEADER || big_endian(bytes, 4) != 1 || big_endian(bytes + 4, 4) != 0) return 0;
    if (big_endian(bytes + 8, 4) != (width == 8 ? INT8 : INT4)) return 0;
    size_t length = big_endian(bytes + 12, 4);
    if (length < count || size != HEADER + length * (4 + width)) return 0;
    c->elements = bytes + HEADER;
    c->width = width;
    for (size_t i = 0; i < count; i++)
        if (big_endian(c->elements + i * (4 + width), 4) != width) return 0;
    return 1;
}

static int64_t at(const column *c, size_t i) {
    uint64_t word = big_endian(c->elements + i * (4 + c->width) + 4, (int)c->width);
    return c->width == 8 ? (int64_t)word : (int32_t)word;
}

static uint8_t *text(uint8_t *to, const char *from, size_t size) {
    memcpy(to, from, size);
    return to + size;
}

#define LITERAL(to, words) text(to, words, sizeof(words) - 1)

static uint8_t *decimal(uint8_t *to, int64_t value) {
    char digits[20];
    int size = 0;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    if (value < 0) *to++ = '-';
    do digits[size++] = (char)('0' + rest % 10);
    while (rest /= 10);
    while (size) *to++ = (uint8_t)digits[--size];
    return to;
}

/* At least 15 digits, as H3 cells are written. */
static uint8_t *hexadecimal(uint8_t *to, uint64_t value) {
    for (int shift = value >> 60 ? 60 : 56; shift >= 0; shift -= 4)
        *to++ = (uint8_t)"0123456789abcdef"[value >> shift & 15];
    return to;
}

/* The word of a batch; NULL where it is not among them. */
static const char *word_of(const corechain_finality *finality, int64_t batch) {
    size_t low = 0, high = finality->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (finality->batches[middle] < batch)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == finality->count || finality->batches[low] != batch) return NULL;
    return finality->words + (size_t)WORD * finality->word_of[low];
}

int64_t corechain_page_json(const corechain_page *page, size_t count,
                            const corechain_finality *finality, const uint8_t *device,
                            size_t device_size, const uint8_t *end, size_t end_size, uint8_t *out,
                            size_t room) {
    column places, batches, positions, values, cells;
    uint8_t *to = out;
    if (!opened(&places, page->places, page->places_size, 8, count) ||
        !opened(&batches, page->batches, page->batches_size, 8, count) ||
        !opened(&positions, page->positions, page->positions_size, 4, count) ||
        !opened(&values, page->values, page->values_size, 8, count) ||
        !opened(&cells, page->cells, page->cells_size, 8, count))
        return -1;
    for (size_t i = 0; i < count; i++) {
        int64_t place = at(&places, i), value = at(&values, i), batch = at(&batches, i);
        const char *word = word_of(finality, batch);
        if (!word || room - (size_t)(to - out) < READING_MAX + device_size + end_size) return -1;
        if (i) *to++ = ',';
        to = decimal(LITERAL(to, "{\"batch_id\":"), batch);
        to = decimal(LITERAL(to, ",\"position\":"), at(&positions, i));
        to = decimal(LITERAL(to, ",\"metric\":"), place >> SECOND_BITS);
        to = hexadecimal(LITERAL(to, ",\"cell\":\""), (uint64_t)at(&cells, i));
        to = text(to, (const char *)device, device_size);
        to = decimal(to, place & (((int64_t)1 << SECOND_BITS) - 1));
        to = decimal(LITERAL(to, ",\"value\":"), value >> FLAG_BITS);
        to = decimal(LITERAL(to, ",\"flag\":"), value & ((1 << FLAG_BITS) - 1));
        to = LITERAL(to, ",\"finality\":\"");
        to = text(to, word, strnlen(word, WORD));
        to = text(to, (const char *)end, end_size);
    }
    return to - out;
}
