/*
 * tls_report: what the handshakes of a run came to, full and resumed apart. Thread: one.
 */
#ifndef BENCH_TLS_REPORT_H
#define BENCH_TLS_REPORT_H

#include "json_out.h"
#include "tls.h"

/* Prints one line a kind of handshake that there was, its first column `width` characters wide. */
void tls_report_print(const struct tls *tls, int width);
/* Writes an object "tls". */
void tls_report_json(const struct tls *tls, struct json_out *json);

#endif
