% Two loaded dice with three faces: each die given that the sum is at least 5.
%% answer: die(a,2)  0.5294117647058824
%% answer: die(a,3)  0.47058823529411764
%% answer: sum(6)  0.35294117647058826
%% answer: die(a,1)  0

0.5::die(a, 1); 0.3::die(a, 2); 0.2::die(a, 3).
0.2::die(b, 1); 0.2::die(b, 2); 0.6::die(b, 3).

sum(S) :- die(a, X), die(b, Y), S is X + Y.
large :- sum(S), S >= 5.

query(die(a, _)).
query(sum(6)).
evidence(large).
