/*
 * loopback.h - what is different on connections that never leave the host.
 */
#ifndef NP_LOOPBACK_H
#define NP_LOOPBACK_H

#include "core/addr.h"

/* loopback_is - is @a of 127.0.0.0/8 (also as an IPv6 address) or ::1? */
bool loopback_is(const struct np_addr *a);
/*
 * loopback_tune - a TCP socket at whose other end is a loopback address; a listener's hand it on to
 * those that it accepts. Failures cost speed only. Thread: any.
 */
void loopback_tune(int fd);

#endif
