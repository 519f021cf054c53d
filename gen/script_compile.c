/* script_compile.c - a tool of the build: compiles a Lua file to bytecode, debug information and all, so that the command need not parse
 * its own scripts at each start (half of the time that an emission takes).
 *
 *   script_compile INDEX FILE.lua OUTPUT      INDEX: the file's place in the table of embed.S, from 1 on; script.c's name of its chunk
 *
 * The bytecode is for the Lua that this program is linked with; script.c takes the text where the one it runs on is another. */
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static int write_out(lua_State *L, const void *bytes, size_t n, void *to) {
  (void)L;
  return fwrite(bytes, 1, n, to) != n;
}

static char *read_all(const char *path, size_t *n) {
  FILE *in = fopen(path, "rb");
  if (!in) return NULL;
  char *text = fseek(in, 0, SEEK_END) == 0 && (long)(*n = (size_t)ftell(in)) >= 0 ? malloc(*n + 1) : NULL;
  rewind(in);
  if (text && fread(text, 1, *n, in) != *n) {
    free(text);
    text = NULL;
  }
  fclose(in);
  return text;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: script_compile INDEX FILE.lua OUTPUT\n");
    return 2;
  }
  size_t n = 0;
  char chunk[32], *text = read_all(argv[2], &n);
  lua_State *L = luaL_newstate();
  snprintf(chunk, sizeof chunk, "=\1%.20s", argv[1]);
  if (!text || !L || luaL_loadbufferx(L, text, n, chunk, "t") != LUA_OK) {
    fprintf(stderr, "script_compile: %s: %s\n", argv[2], text && L ? lua_tostring(L, -1) : "cannot be read");
    return 1;
  }
  FILE *out = fopen(argv[3], "wb");
  bool written = out && lua_dump(L, write_out, out, 0) == 0;
  if (!out || fclose(out) || !written) {
    fprintf(stderr, "script_compile: %s cannot be written\n", argv[3]);
    return 1;
  }
  lua_close(L);
  free(text);
  return 0;
}
