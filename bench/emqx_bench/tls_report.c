/*
 * tls_report: see tls_report.h.
 */
#include "tls_report.h"

static double percentile_ms(const struct tls_handshakes *handshakes, double fraction)
{
    return (double)histogram_percentile(&handshakes->duration, fraction) / 1e6;
}

static void print_kind(const struct tls_handshakes *handshakes, const char *kind, int width, const char *cipher)
{
    if (handshakes->count == 0)
        return;
    (void)printf("%-*s %llu %s handshakes: %.0f/s; p50 %.3f ms, p99 %.3f ms, max %.3f ms (%s)\n", width, "TLS",
                 (unsigned long long)handshakes->count, kind, tls_handshakes_per_s(handshakes),
                 percentile_ms(handshakes, 0.5), percentile_ms(handshakes, 0.99),
                 (double)handshakes->duration.max_ns / 1e6, cipher);
}

void tls_report_print(const struct tls *tls, int width)
{
    print_kind(&tls->full, "full", width, tls->cipher);
    print_kind(&tls->resumed, "resumed", width, tls->cipher);
}

static void write_kind(const struct tls_handshakes *handshakes, const char *kind, struct json_out *json)
{
    json_out_begin(json, kind);
    json_out_number(json, "count", handshakes->count);
    json_out_real(json, "per_s", tls_handshakes_per_s(handshakes));
    json_out_real(json, "p50_ms", percentile_ms(handshakes, 0.5));
    json_out_real(json, "p99_ms", percentile_ms(handshakes, 0.99));
    json_out_end(json);
}

void tls_report_json(const struct tls *tls, struct json_out *json)
{
    json_out_begin(json, "tls");
    json_out_text(json, "cipher", tls->cipher);
    write_kind(&tls->full, "full", json);
    write_kind(&tls->resumed, "resumed", json);
    json_out_end(json);
}
