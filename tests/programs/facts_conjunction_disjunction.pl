% Independent facts without arguments, joined by 'and' and by 'or'.
%% answer: both  0.15
%% answer: either  0.7

0.25::key.
0.6::light.

both :- key, light.
either :- key.
either :- light.

query(both).
query(either).
