#pragma once
#include <stddef.h>
#include <libvirt/libvirt.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>

// The lifecycle callback has a signature of its own behind one generic type; this keeps the cast out of Swift.
static inline int av_register_lifecycle(
    virConnectPtr connection, virConnectDomainEventCallback callback, void *opaque, virFreeCallback release) {
    return virConnectDomainEventRegisterAny(
        connection, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(callback), opaque, release);
}
