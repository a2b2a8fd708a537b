/*
 * banned.h - functions that this project does not use. Include it last, after the system headers:
 * the names are poisoned from there on and their use is a compile error.
 *
 * Instead: np_buf_putf and snprintf with a size, np_parse_u64, np_malloc and friends
 * (base/alloc.h), localtime_r.
 */
#ifndef NP_BASE_BANNED_H
#define NP_BASE_BANNED_H

/* Some C libraries make macros of them, and a poisoned name may not be one. */
#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef stpcpy
#undef sprintf
#undef vsprintf
#undef strtok
#undef gets
#undef atoi
#undef atol
#undef atoll
#undef atof
#undef sscanf
#undef alloca
#undef gmtime
#undef localtime
#undef ctime
#undef asctime

#pragma GCC poison strcpy strcat strncpy strncat stpcpy
#pragma GCC poison sprintf vsprintf strtok gets sscanf alloca
#pragma GCC poison atoi atol atoll atof
#pragma GCC poison gmtime localtime ctime asctime

#endif
