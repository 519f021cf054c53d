/* write.h - files written whole or not at all. */
#ifndef KILN_CLI_WRITE_H
#define KILN_CLI_WRITE_H
#include <stdbool.h>
#include <stddef.h>

/* Writes to a temporary name beside path and renames it. What is no regular file (a pipe, /dev/null) is written to directly.
 * Links are followed, also those that lead to nothing yet. false after a message; then path is as it was and nothing is left behind. */
bool write_whole(const char *path, const char *text, size_t bytes);

/* A new folder for files of a while, below $TMPDIR or /tmp: its path, of at most `bytes`. false: errno says why; path then says where. */
bool make_temporary(char *path, size_t bytes, const char *name);

/* Makes the folders that path names, up to its last slash. false after a message. */
bool make_folders(const char *path);

/* Writes, and makes the folders that path names. */
bool write_whole_below(const char *path, const char *text, size_t bytes);
#endif
