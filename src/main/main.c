/*
 * main: the program `emqx`; its commands are in command_table.c, the broker's parts are put together in node.c.
 */
#include "main/run.h"

int main(int argc, char **argv)
{
    return command_main(argc, argv);
}
