/* old_driver.c - a libcuda.so.1 of long ago, for test_old_driver.c: it can be opened, and lacks nearly everything. */
__attribute__((visibility("default"))) unsigned cuInit(unsigned flags);
unsigned cuInit(unsigned flags) { return flags; }
