% A rule that only supports itself proves nothing; least-model semantics.
%% answer: ghost  0
%% answer: plant  0.4
%% answer: none  1

ghost :- ghost.

0.4::seed.
plant :- seed.
plant :- plant.
none :- \+ ghost.

query(ghost).
query(plant).
query(none).
