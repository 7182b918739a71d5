/*
 * version: the one place where versions are written. Kept in step with meson.build by a unit test.
 */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define EMQC_VERSION "0.1.0"

/* The version whose outside this broker shows: files, topics, texts and numbers are those of this EMQX. */
#define EMQX_COMPAT_VERSION "3.2.8"

#define EMQX_SYSDESCR "EMQ X Broker"

#endif
