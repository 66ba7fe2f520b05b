% Evidence given by a rule holds for every instance that the rule derives.
%% answer: light(1)  0.2
%% answer: light(2)  1
%% answer: light(3)  0.2
%% answer: light(4)  1
%% answer: dark(1)  0
%% answer: dark(2)  0
%% answer: dark(3)  0
%% answer: dark(4)  0
%% answer: fuse  0

seen(2).
seen(4).

0.2::light(X) :- between(1, 4, X).
0.5::fuse.
dark(X) :- light(X), fuse.

query(light(_)).
query(dark(_)).
query(fuse).
evidence(light(X)) :- seen(X).
evidence(dark(2), false).
