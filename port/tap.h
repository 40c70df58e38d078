/* <linux/if_tun.h>, which musl does not bring: what is asked of tap devices by ioctl(2). */
#ifndef VUBOX_PORT_TAP_H
#define VUBOX_PORT_TAP_H

#include <sys/ioctl.h>

#define TAP_TUNSETIFF       _IOW('T', 202, int)
#define TAP_TUNSETOFFLOAD   _IOW('T', 208, unsigned int)
#define TAP_TUNGETIFF       _IOR('T', 210, unsigned int)
#define TAP_TUNSETVNETHDRSZ _IOW('T', 216, int)
#define TAP_TUNSETQUEUE     _IOW('T', 217, int)

#endif
