#pragma once
#include <guestfs.h>
