/*
 * compiler: attributes and assertions that every folder uses.
 */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#include <stddef.h>

/* The caller must look at the result. */
#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_index) __attribute__((format(printf, format_index, first_index)))
#define NORETURN __attribute__((noreturn))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* For our own mistakes, never for input: prints the fact that failed and aborts. Kept in release builds. */
#define ASSERT(fact)                                                                                                   \
    do {                                                                                                               \
        if (UNLIKELY(!(fact)))                                                                                         \
            assert_failed(#fact, __FILE__, __LINE__);                                                                  \
    } while (0)

/* Prints the fact and its place to stderr, then aborts. Thread: any. */
NORETURN void assert_failed(const char *fact, const char *file, int line);

#endif
