/* Included before every file of the build that tries the bars: see tests/cage/bars.c. */
#define CONFIG_CAGE_HOOK cage_hook
void cage_hook(const char *what);
