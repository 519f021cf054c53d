/* hazard.h - between hazard.c, hazard_flight.c and hazard_store.c. */
#ifndef KILN_HAZARD_H
#define KILN_HAZARD_H
#include "tile.h"

bool hazard_flight(TileProgram *p, TileId kernel); /* asynchronous products, and which end a skip passes over; false: refused, in diag */
bool hazard_store(TileProgram *p, TileId kernel);  /* how many groups of bulk stores an acquire or a drain may leave; false: refused, in diag */
#endif
