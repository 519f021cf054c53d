/* hazard.h - between hazard.c and hazard_flight.c. */
#ifndef KILN_HAZARD_H
#define KILN_HAZARD_H
#include "tile.h"

bool hazard_flight(TileProgram *p, TileId kernel); /* asynchronous products, and which end a skip passes over; false: refused, in diag */
#endif
