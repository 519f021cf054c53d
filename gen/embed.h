/* embed.h - the Lua files of lua/, inside the binary. */
#ifndef KILN_EMBED_H
#define KILN_EMBED_H
#include <stddef.h>

typedef struct EmbedFile {
  const char *name; /* below lua/: "ops/rms_norm.lua" */
  const char *text; /* ends in NUL */
  size_t bytes;     /* without the NUL */
  const char *code; /* the same as bytecode (script_compile.c), of the chunk "=\1N", N the row's number from 1 on */
  size_t code_bytes; /* 0: there is none */
} EmbedFile;

extern const EmbedFile embed_files[]; /* in order of name, byte by byte; ends with a NULL name */
#endif
