/* main.c - the command kiln: finds the subcommand, parses its options, runs it, and sees to it that nothing printed is lost. */
#include "cli/cli.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const Command *const commands[] = {&command_list, &command_emit, &command_check, &command_bench, &command_tune, &command_inspect, &command_sim};
#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_usage(FILE *out) {
  fputs("usage: kiln COMMAND [OPERAND] [OPTION..]\n\n"
        "Turns tile descriptions (Lua) into PTX for one GPU architecture, and checks and measures it.\n\n",
        out);
  for (size_t i = 0; i < COMMANDS; i++) fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
  fputs("\n"
        "  kiln COMMAND --help   options and examples of a command\n"
        "  kiln --version\n\n"
        "OP is the name of an op (kiln list), a script's path (my_op.lua), or one op of a script (my_op.lua:NAME).\n"
        "Exit code: 0 done, 1 failed (a check, an emission, a file), 2 the command line is wrong.\n\n"
        "examples:\n"
        "  kiln emit rms_norm --target sm_90a\n"
        "  kiln check gemm --device sim:sm_80 --quick\n"
        "  kiln bench rms_norm --device cuda:0 --size M=8192,N=4096\n"
        "  kiln tune gemm --device cuda:0 --size M=4096,N=1024..8192*2,K=4096\n",
        out);
}

static const Command *find_command(const char *name) {
  for (size_t i = 0; i < COMMANDS; i++)
    if (strcmp(commands[i]->name, name) == 0) return commands[i];
  return NULL;
}

static int run_command(const Command *c, int argc, char **argv) {
  static Options o; /* points into itself, so it must not move */
  char message[512];
  if (!options_parse(&o, c->name, c->options | TAKES(HELP), c->most, argc, argv, message, sizeof message))
    return cli_usage("%s (see kiln %s --help)", message, c->name);
  if (options_has(&o, OPTION_HELP)) {
    fputs(c->help, stdout);
    return CLI_OK;
  }
  if (o.noperands < c->least) return cli_usage("%s: an operand is missing (see kiln %s --help)", c->name, c->name);
  return c->run(&o);
}

/* A closed standard stream would be taken by the next file that is opened. The stand-in refuses to be written to. */
static void hold_streams(void) {
  for (int fd = 0; fd < 3; fd++)
    if (fcntl(fd, F_GETFD) < 0) (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

static int run(int argc, char **argv) {
  if (argc < 2) {
    print_usage(stderr);
    return CLI_USAGE;
  }
  const char *name = argv[1];
  if (strcmp(name, "--version") == 0) return printf("kiln %s\n", KILN_VERSION), CLI_OK;
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return print_usage(stdout), CLI_OK;
  const Command *c = find_command(name);
  if (!c) {
    cli_error("unknown command \"%s\"\n", name);
    print_usage(stderr);
    return CLI_USAGE;
  }
  return run_command(c, argc - 2, argv + 2);
}

int main(int argc, char **argv) {
  hold_streams();
  signal(SIGPIPE, SIG_IGN); /* a reader that went away shows as a failed write below */
  signal(SIGXFSZ, SIG_IGN); /* a file that may grow no longer: a failed write, too, after which nothing half-written stays */
  int code = run(argc, argv);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    if (errno != EPIPE) cli_error("cannot write to standard output: %s", strerror(errno)); /* head(1) and the like just leave */
    if (code == CLI_OK) code = CLI_FAILED;
  }
  return code;
}
