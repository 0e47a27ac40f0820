#include "idl/methods.h"
