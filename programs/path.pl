% Can one drive from home to town? Five images show the state of five roads; only the way that one took is observed:
% free, over free roads alone; toll, where that cannot be; none, where not even paying helps.
%
%        +-- A -- mill --- D --+
%      home        C          town
%        +-- B -- lake --- E --+

nn(road_net, [R], S, [blocked, toll, free]) :: road(R, S).

drive(A, B, C, D, E, free) :- path(home, town, free, A, B, C, D, E).
drive(A, B, C, D, E, toll) :- \+ path(home, town, free, A, B, C, D, E), path(home, town, toll, A, B, C, D, E).
drive(A, B, C, D, E, none) :- \+ path(home, town, toll, A, B, C, D, E).

% Roads go both ways, so paths may lead back: what was asked already is not asked again.
path(P, P, _, _, _, _, _, _).
path(P, Q, Most, A, B, C, D, E) :- way(P, N, Most, A, B, C, D, E), path(N, Q, Most, A, B, C, D, E).

way(P, N, Most, A, B, C, D, E) :- open(P, N, Most, A, B, C, D, E).
way(P, N, Most, A, B, C, D, E) :- open(N, P, Most, A, B, C, D, E).

open(home, mill, Most, A, _, _, _, _) :- passable(A, Most).
open(home, lake, Most, _, B, _, _, _) :- passable(B, Most).
open(mill, lake, Most, _, _, C, _, _) :- passable(C, Most).
open(mill, town, Most, _, _, _, D, _) :- passable(D, Most).
open(lake, town, Most, _, _, _, _, E) :- passable(E, Most).

passable(R, _) :- road(R, free).
passable(R, toll) :- road(R, toll).
