% An annotated disjunction whose values sum to exactly 1.
%% answer: colour(red)  0.2
%% answer: colour(green)  0.5
%% answer: colour(blue)  0.3
%% answer: warm  0.2
%% answer: named  1

0.2::colour(red); 0.5::colour(green); 0.3::colour(blue).

warm :- colour(red).
named :- colour(_).

query(colour(_)).
query(warm).
query(named).
