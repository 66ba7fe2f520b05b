% Two numbers of two base-4 digits are added digit by digit with a carry.
%% answer: result([1, 0, 2])  0.05875
%% answer: result([1, 1, 2])  0.04875
%% answer: result([1, 2, 2])  0.0325
%% answer: result([1, 3, 2])  0.01
%% answer: carry(2,0)  0.375
%% answer: carry(2,1)  0.625

0.1::digit(x, I, 0); 0.2::digit(x, I, 1); 0.3::digit(x, I, 2); 0.4::digit(x, I, 3) :- place(I).
0.25::digit(y, I, 0); 0.25::digit(y, I, 1); 0.25::digit(y, I, 2); 0.25::digit(y, I, 3) :- place(I).
place(0).
place(1).

carry(0, 0).
carry(J, C) :- place(I), J is I + 1, total(I, T), C is T // 4.
total(I, T) :- carry(I, C), digit(x, I, A), digit(y, I, B), T is A + B + C.
result([C, D1, D0]) :-
    units(D0, K), digit(x, 1, A), digit(y, 1, B),
    T is A + B + K, D1 is T mod 4, C is T // 4.
units(D, K) :- digit(x, 0, A), digit(y, 0, B), D is (A + B) mod 4, K is (A + B) // 4.

query(result([1, _, 2])).
query(carry(2, _)).
