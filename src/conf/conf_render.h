/*
 * conf_render: the shipped etc/emqx.conf and docs/configuration.md, written from the rows of the key tables.
 * tools/confgen.c writes the files; a test compares the committed ones. Thread: any.
 */
#ifndef CONF_CONF_RENDER_H
#define CONF_CONF_RENDER_H

#include <stdio.h>

struct conf_table;

/* Writes the shipped configuration file. Errors are those of the stream (ferror). */
void conf_render_file(FILE *out);

/* Writes the shipped configuration file of one table (a plugin's), under `title`. */
void conf_render_table(FILE *out, const char *title, const struct conf_table *table);

/* Writes the reference in Markdown. Errors are those of the stream (ferror). */
void conf_render_reference(FILE *out);

#endif
