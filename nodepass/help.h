/*
 * help.h - what `nodepass` says about itself. Parameters and variables come from their tables;
 * there is no second list.
 */
#ifndef NODEPASS_HELP_H
#define NODEPASS_HELP_H

#include "base/buf.h"

#define HELP_TEXT_MAX 65536

/* All of them append to @out; its sticky error says when that failed. */
void help_banner(struct np_buf *out);
void help_version(struct np_buf *out);
void help_usage(struct np_buf *out);
/* help_markdown - the tables of README.md, between the markers that stand there. */
void help_markdown(struct np_buf *out);

#endif
