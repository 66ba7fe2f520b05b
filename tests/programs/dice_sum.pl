% The sum of two fair dice.
%% answer: sum(2)  0.027777777777777776
%% answer: sum(3)  0.05555555555555555
%% answer: sum(4)  0.08333333333333333
%% answer: sum(5)  0.1111111111111111
%% answer: sum(6)  0.1388888888888889
%% answer: sum(7)  0.16666666666666666
%% answer: sum(8)  0.1388888888888889
%% answer: sum(9)  0.1111111111111111
%% answer: sum(10)  0.08333333333333333
%% answer: sum(11)  0.05555555555555555
%% answer: sum(12)  0.027777777777777776
%% answer: high  0.16666666666666666

1/6::die(D, 1); 1/6::die(D, 2); 1/6::die(D, 3); 1/6::die(D, 4); 1/6::die(D, 5); 1/6::die(D, 6) :- throw(D).
throw(1).
throw(2).

sum(S) :- die(1, A), die(2, B), S is A + B.
high :- sum(S), S >= 10.

query(sum(_)).
query(high).
