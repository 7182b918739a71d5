/*
 * assert: where a broken fact of our own ends the process.
 */
#include "base/compiler.h"

#include <stdio.h>
#include <stdlib.h>

void assert_failed(const char *fact, const char *file, int line)
{
    fprintf(stderr, "emqx: %s:%d: this must always hold, but does not: %s\n", file, line, fact);
    abort();
}
