/* embed.S - the Lua files of lua/ and a table over them (embed.h). embed_list.h is made by embed.sh: a row per file. */
#if defined(__LP64__) || defined(_LP64)
#define WORD .8byte
#else
#define WORD .4byte
#endif

  .section .rodata.kiln_embed, "a", %progbits
#define LUA_FILE(n, name, path, code) \
  .Lname_##n: .asciz name; \
  .Ltext_##n: .incbin path; \
  .Lend_##n: .byte 0; \
  .Lcode_##n: .incbin code; \
  .Lover_##n:
#include "embed_list.h"
#undef LUA_FILE

  .section .data.rel.ro.kiln_embed, "aw", %progbits
  .balign 8
  .globl embed_files
  .hidden embed_files
  .type embed_files, %object
embed_files:
#define LUA_FILE(n, name, path, code) \
  WORD .Lname_##n, .Ltext_##n, .Lend_##n - .Ltext_##n, .Lcode_##n, .Lover_##n - .Lcode_##n
#include "embed_list.h"
#undef LUA_FILE
  WORD 0, 0, 0, 0, 0
  .size embed_files, . - embed_files

  .section .note.GNU-stack, "", %progbits
