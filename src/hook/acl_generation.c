/*
 * acl_generation: the number itself.
 */
#include "hook/acl_generation.h"

_Atomic uint32_t acl_generation;
